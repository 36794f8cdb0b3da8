//! Real weights: the 2-D tensors of a safetensors file, quantised to QK256.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::format::QK256;

/// An open safetensors file, mapped into memory: its tensors are read when they are asked for.
#[derive(Clone, Debug)]
pub struct Weights {
    path: PathBuf,
    file: Arc<Mmap>,
    /// Offset of the first byte behind the header.
    data: usize,
    metadata: Metadata,
}

/// A 2-D tensor of a type that can be quantised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// First dimension.
    pub rows: usize,
    /// Second dimension.
    pub cols: usize,
}

/// Rows of a tensor of a weights file, from `first_row` on: as many as the case has, or as its vector needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRows {
    /// The tensor's name.
    pub name: String,
    /// The first row taken.
    pub first_row: usize,
}

/// A matrix in QK256: rows dense, `64 * ceil(cols / 256)` bytes each.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// Columns.
    pub cols: usize,
    /// Whole blocks, row after row.
    pub packed: Vec<u8>,
    /// One scale a block, row-major.
    pub scales: Vec<f32>,
}

/// Why a weights file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be opened or read.
    #[error("cannot read weights from {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        error: io::Error,
    },
    /// The file is not safetensors, or not all of it.
    #[error("{path} is not a whole safetensors file: {error}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: safetensors::SafeTensorError,
    },
    /// No tensor of that name can be quantised.
    #[error("{path} has no 2-D f32, f16 or bf16 tensor `{name}`")]
    NoTensor {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
    },
    /// A case asks for more of a tensor than there is.
    #[error("tensor `{}` is {} x {}; the case asks for {wanted}", tensor.name, tensor.rows, tensor.cols)]
    Outside {
        /// The tensor.
        tensor: Tensor,
        /// Rows and columns, or elements, and the first row.
        wanted: String,
    },
    /// A weight is NaN or infinite.
    #[error("tensor `{name}` cannot be quantised: {error}")]
    Quantize {
        /// The tensor.
        name: String,
        /// What the quantiser refused.
        error: qk256_kernels::QuantizeError,
    },
}

impl Weights {
    /// Opens `path` and reads its header.
    ///
    /// # Errors
    /// If the file cannot be read, is not safetensors, or is shorter or longer than its header says.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let failed = |error| WeightsError::Read { path: path.to_owned(), error };
        let format = |error| WeightsError::Format { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        // SAFETY: the mapping is read-only and private to this value. Should another program shorten the file meanwhile, a
        // read ends the process, as the fault handler reports; no memory of ours is affected.
        let file = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let (header, metadata) = SafeTensors::read_metadata(&file).map_err(format)?;
        let data = header + size_of::<u64>();
        Ok(Self { path: path.to_owned(), file: Arc::new(file), data, metadata })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every tensor that can be quantised, by name.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut tensors: Vec<Tensor> =
            self.metadata.tensors().iter().filter_map(|(name, info)| usable(name, info)).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }

    /// Tensors that cannot be quantised: other types, other ranks.
    pub fn skipped(&self) -> usize {
        self.metadata.tensors().len() - self.tensors().len()
    }

    /// The leading `rows` by `cols` weights from the part's first row on, quantised with the scale of least squared error a
    /// block.
    ///
    /// # Errors
    /// If the tensor is absent or has less, cannot be read, or holds a value that is not finite.
    pub fn quantized_matrix(
        &self,
        part: &TensorRows,
        rows: usize,
        cols: usize,
    ) -> Result<Quantized, WeightsError> {
        let (whole, info) = self.tensor(&part.name)?;
        let fits =
            part.first_row.checked_add(rows).is_some_and(|end| end <= whole.rows) && cols <= whole.cols;
        if !fits {
            return Err(WeightsError::Outside {
                tensor: whole,
                wanted: format!("{rows} x {cols} from row {}", part.first_row),
            });
        }
        let values = self.read(info, part.first_row * whole.cols, rows * whole.cols);
        let cut: Vec<f32> = values.chunks(whole.cols.max(1)).flat_map(|row| &row[..cols]).copied().collect();
        quantize(&whole.name, &cut, rows, cols)
    }

    /// `len` weights from the part's first row on, row-major, quantised as one vector.
    ///
    /// # Errors
    /// As [`quantized_matrix`](Self::quantized_matrix).
    pub fn quantized_vector(&self, part: &TensorRows, len: usize) -> Result<Quantized, WeightsError> {
        quantize(&part.name, &self.vector(part, len)?, 1, len)
    }

    /// `len` weights from the part's first row on, row-major, as they are.
    ///
    /// # Errors
    /// If the tensor is absent or has less, or cannot be read.
    pub fn vector(&self, part: &TensorRows, len: usize) -> Result<Vec<f32>, WeightsError> {
        let (whole, info) = self.tensor(&part.name)?;
        let start = part.first_row.checked_mul(whole.cols);
        let end = start.and_then(|start| start.checked_add(len));
        match (start, end) {
            (Some(start), Some(end)) if end <= whole.rows * whole.cols => Ok(self.read(info, start, len)),
            _ => Err(WeightsError::Outside {
                tensor: whole,
                wanted: format!("{len} from row {}", part.first_row),
            }),
        }
    }

    fn tensor(&self, name: &str) -> Result<(Tensor, &TensorInfo), WeightsError> {
        let absent = || WeightsError::NoTensor { path: self.path.clone(), name: name.to_owned() };
        let info = self.metadata.info(name).ok_or_else(absent)?;
        Ok((usable(name, info).ok_or_else(absent)?, info))
    }

    /// `count` values of a tensor from value `start` on, row-major.
    fn read(&self, info: &TensorInfo, start: usize, count: usize) -> Vec<f32> {
        let width = if info.dtype == Dtype::F32 { 4 } else { 2 };
        let first = self.data + info.data_offsets.0 + start * width;
        decode(info.dtype, &self.file[first..first + count * width])
    }
}

impl Quantized {
    /// The codes of the first row, in order.
    pub fn codes(&self) -> Vec<u8> {
        QK256.codes(&self.packed, self.cols)
    }
}

fn quantize(name: &str, values: &[f32], rows: usize, cols: usize) -> Result<Quantized, WeightsError> {
    let failed = |error| WeightsError::Quantize { name: name.to_owned(), error };
    let blocks = rows * qk256_kernels::blocks(cols);
    let (mut packed, mut scales) = (vec![0; blocks * qk256_kernels::BLOCK_BYTES], vec![0.0; blocks]);
    qk256_kernels::quantize_matrix(values, rows, cols, &mut packed, &mut scales).map_err(failed)?;
    Ok(Quantized { cols, packed, scales })
}

/// The tensor, if it is 2-D and of a type that can be quantised.
fn usable(name: &str, info: &TensorInfo) -> Option<Tensor> {
    let known = matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
    match info.shape[..] {
        [rows, cols] if known => Some(Tensor { name: name.to_owned(), rows, cols }),
        _ => None,
    }
}

fn decode(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F16 => bytes.as_chunks().0.iter().map(|&pair| f16::from_le_bytes(pair).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|&pair| bf16::from_le_bytes(pair).to_f32()).collect(),
        _ => bytes.as_chunks().0.iter().map(|&quad| f32::from_le_bytes(quad)).collect(),
    }
}
