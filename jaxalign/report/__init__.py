"""The result of a sweep as one HTML file, for reading, printing and passing on."""

from jaxalign.report.document import write_report

__all__ = ["write_report"]
