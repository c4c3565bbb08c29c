"""Fixtures of the doctor's tests."""

from tests.stubs.nvml import nvml_environ, nvml_library

__all__ = ["nvml_environ", "nvml_library"]
