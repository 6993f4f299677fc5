"""The zoos of this package pass the suite that every zoo can inherit."""

from holotype.testing import conformance

TestProteins = conformance("proteins")
TestVision = conformance("vision")
