"""Tests, recorded cases of official implementations (`tests.parity`) and benchmarks (`tests.bench`)."""
