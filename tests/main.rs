//! Every integration test: one binary.
