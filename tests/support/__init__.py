"""What the tests share: slow definitions, models and encoders people use, a harness."""
