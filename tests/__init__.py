"""The test pyramid: many unit tests, fewer integration tests, few end-to-end tests."""
