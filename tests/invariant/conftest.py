from tests.training.conftest import make_config, on_the_cpu, pictures

__all__ = ["make_config", "on_the_cpu", "pictures"]
