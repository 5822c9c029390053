"""What is learned, and the noise put on it."""

from jaxalign.tasks.arrays import ArraysInfo
from jaxalign.tasks.base import Task
from jaxalign.tasks.images import ImageTask
from jaxalign.tasks.input_spectrum import PowerLaw
from jaxalign.tasks.teacher import LinearTeacher

__all__ = ["ArraysInfo", "ImageTask", "LinearTeacher", "PowerLaw", "Task"]
