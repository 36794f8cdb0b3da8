//! The matrices of published models, and what tensor parallelism makes of them.

/// Sizes of a decoder (or, of the smallest, an encoder), from the configuration that its authors published.
struct Model {
    /// Elements of a token's state.
    hidden: usize,
    /// Elements of all queries, and of all keys.
    queries: usize,
    keys: usize,
    /// Elements of the feed-forward layer: of one expert, where there are several.
    feed_forward: usize,
    vocabulary: usize,
}

const fn model(hidden: usize, queries: usize, keys: usize, feed_forward: usize, vocabulary: usize) -> Model {
    Model { hidden, queries, keys, feed_forward, vocabulary }
}

const MODELS: [Model; 34] = [
    model(384, 384, 384, 1536, 30_522),           // all-MiniLM-L6-v2
    model(576, 576, 192, 1536, 49_152),           // SmolLM2-135M
    model(768, 768, 768, 3072, 50_257),           // GPT-2
    model(896, 896, 128, 4864, 151_936),          // Qwen2.5-0.5B
    model(960, 960, 320, 2560, 49_152),           // SmolLM2-360M
    model(1024, 1024, 1024, 4096, 50_257),        // GPT-2 medium
    model(1024, 2048, 1024, 3072, 151_936),       // Qwen3-0.6B
    model(1536, 1536, 1536, 4096, 32_002),        // bitnet_b1_58-large
    model(1536, 1536, 256, 8960, 151_936),        // Qwen2.5-1.5B
    model(1600, 1600, 1600, 6400, 50_257),        // GPT-2 XL
    model(2048, 2048, 256, 5632, 32_000),         // TinyLlama-1.1B
    model(2048, 2048, 512, 8192, 128_256),        // Llama-3.2-1B
    model(2048, 2048, 256, 11_008, 151_936),      // Qwen2.5-3B
    model(2048, 3072, 576, 10_944, 102_400),      // DeepSeek-V2-Lite
    model(2304, 2048, 1024, 9216, 256_000),       // Gemma-2-2B
    model(2560, 2560, 640, 6912, 128_256),        // BitNet-b1.58-2B-4T
    model(2560, 2560, 2560, 10_240, 51_200),      // Phi-2
    model(2560, 4096, 1024, 9728, 151_936),       // Qwen3-4B
    model(3072, 3072, 1024, 8192, 128_256),       // Llama-3.2-3B
    model(3072, 3072, 3072, 8192, 32_064),        // Phi-3-mini
    model(3072, 4096, 4096, 24_576, 256_000),     // Gemma-7B
    model(3200, 3200, 3200, 8640, 32_002),        // bitnet_b1_58-3B
    model(3584, 3584, 512, 18_944, 152_064),      // Qwen2.5-7B
    model(4096, 4096, 4096, 11_008, 32_000),      // Llama-2-7B
    model(4096, 4096, 1024, 14_336, 128_256),     // Llama-3.1-8B
    model(4096, 4096, 512, 11_008, 64_000),       // Yi-6B
    model(4544, 4544, 64, 18_176, 65_024),        // Falcon-7B
    model(4608, 4096, 2048, 36_864, 256_000),     // Gemma-2-27B
    model(5120, 5120, 5120, 13_824, 32_000),      // Llama-2-13B
    model(5120, 5120, 1024, 27_648, 152_064),     // Qwen2.5-32B
    model(6144, 6144, 1024, 16_384, 92_544),      // InternLM2-20B
    model(7168, 16_384, 576, 2048, 129_280),      // DeepSeek-V3
    model(8192, 8192, 1024, 28_672, 128_256),     // Llama-3.1-70B
    model(16_384, 16_384, 1024, 53_248, 128_256), // Llama-3.1-405B
];

/// Parts that tensor parallelism cuts a matrix into.
const PARTS: [usize; 4] = [1, 2, 4, 8];

/// Rows and columns of every matrix of the models, whole and in halves, quarters and eighths: by rows, but those whose results are
/// added up by columns. In order of size; none twice.
pub(super) fn shapes() -> Vec<(usize, usize)> {
    let mut shapes: Vec<(usize, usize)> = MODELS.iter().flat_map(Model::shapes).collect();
    shapes.sort_unstable_by_key(|&(rows, cols)| (rows * cols, rows));
    shapes.dedup();
    shapes
}

impl Model {
    fn shapes(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let &Self { hidden, queries, keys, feed_forward, vocabulary } = self;
        let by_rows = [queries, keys, feed_forward, vocabulary].map(move |rows| (rows, hidden));
        let by_cols = [queries, feed_forward].map(move |cols| (hidden, cols));
        let rows = by_rows.into_iter().flat_map(|(rows, cols)| {
            PARTS.into_iter().filter(move |part| rows % part == 0).map(move |part| (rows / part, cols))
        });
        let cols = by_cols.into_iter().flat_map(|(rows, cols)| {
            PARTS.into_iter().filter(move |part| cols % part == 0).map(move |part| (rows, cols / part))
        });
        rows.chain(cols)
    }
}
