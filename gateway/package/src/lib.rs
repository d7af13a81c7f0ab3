//! Driver packages: archive, manifest, signature, and where they are installed.
