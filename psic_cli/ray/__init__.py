"""Many pictures on many machines: a Ray cluster works, psic brings the list, the rules and the report.

`run.run` is what the commands call; `encode_dataset` is for programs that have a Ray Dataset already. Needs the extra
`ray`; importing this package alone does not.
"""

from psic_cli.ray.datasets import encode_dataset

__all__ = ["encode_dataset"]
