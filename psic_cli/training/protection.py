"""Stage 2 (being written)."""


class ProtectionStage:
    name = "protection"
