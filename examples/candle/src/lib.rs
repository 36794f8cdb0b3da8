//! Nothing: `tests/k_quants.rs` is the example. `cargo test --manifest-path examples/candle/Cargo.toml` runs it.
