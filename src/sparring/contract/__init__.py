"""The contract of methods, opponents and protocols, as checks that `sparring.testing` offers."""
