//! Towards the platform.
