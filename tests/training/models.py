"""Small made-up vision-language models for tests of training."""

import torch

CLASSES = 10


class SmallModel:
    """Looks at an 8x8 thumbnail through fixed random numbers; reads texts through their letters."""

    logit_scale = 10.0

    def __init__(self, name: str, with_classes: bool = True) -> None:
        self.name = name
        generator = torch.Generator().manual_seed(len(name))
        self.weight = torch.randn(3 * 8 * 8, 16, generator=generator)
        self.letters = torch.randn(256, 16, generator=generator)
        if with_classes:
            self.class_text = torch.nn.functional.normalize(torch.randn(CLASSES, 16, generator=generator), dim=1)
        self.read: list[str] = []
        torch.rand(5)  # as real models do, making it draws from the common generator

    def encode_image(self, pictures: torch.Tensor) -> torch.Tensor:
        thumbnail = torch.nn.functional.adaptive_avg_pool2d(pictures.float(), 8).flatten(1)
        with torch.autocast("cpu", enabled=False):
            return torch.nn.functional.normalize((thumbnail - 0.5) @ self.weight, dim=1)

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        self.read += texts
        rows = [self.letters[[ord(letter) % 256 for letter in text]].mean(0) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)
