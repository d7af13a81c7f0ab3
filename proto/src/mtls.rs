//! AutoMTLS.
