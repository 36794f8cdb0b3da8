//! The data of a timed call, in plain memory.

use std::hint::black_box;
use std::time::Duration;

use super::clock::cpu_time;
use crate::case::Case;
use crate::domain::Domain;
use crate::kernel::{Arguments, Kernel, Outcome};
use crate::operation::Operation;
use crate::shape::Shape;

/// Bytes to which every buffer is aligned: a cache line.
const ALIGNMENT: usize = 64;

/// Bytes of a page. Where a buffer lies within one is fixed: a load waits for an earlier store to an address that is the same in its
/// low 12 bits, so that the same kernel would be faster in one process than in another, wherever its allocations came to lie.
const PAGE: usize = 4096;

/// Bytes from the start of a page to a buffer, for each buffer more: that many lines, so that short ones do not meet.
const STAGGER: usize = 9 * ALIGNMENT;

/// Vectors of the batch by which kernels are compared.
pub const USUAL_BATCH: usize = 4;

/// Data and plain (not guarded) memory for repeated calls of kernels of one operation. That of `gemv_fixed` can time kernels of
/// `gemv` too: the same product of the same data.
#[derive(Debug)]
pub struct Workload {
    case: Case,
    shape: Shape,
    packed: Aligned<u8>,
    codes_in: Aligned<u8>,
    scales: Option<Aligned<f32>>,
    x: Aligned<f32>,
    activations: Aligned<u8>,
    /// What the kernel that is timed made of the weights.
    prepared: Vec<u8>,
    codes_out: Aligned<u8>,
    floats_out: Aligned<f32>,
}

impl Workload {
    /// The plainest case of a shape ([`Case::new`]), laid out. A vector operation has one row, whatever `rows` says;
    /// `scaled` matters to gemv only.
    ///
    /// # Panics
    /// If a buffer would be larger than [`MAX_BUFFER_BYTES`](crate::case::MAX_BUFFER_BYTES).
    pub fn new(domain: impl Into<Domain>, rows: usize, cols: usize, scaled: bool) -> Self {
        let domain = domain.into();
        let mut case = Case::new(domain, if domain.operation.is_matrix() { rows } else { 1 }, cols);
        case.scaled |= scaled && domain.may_be_scaled();
        if domain.operation.is_batched() {
            case.batch = USUAL_BATCH;
        }
        case.fit();
        Self::of(case)
    }

    /// The workload by which the kernels of an operation are compared: 2560 rows of 2560 columns without scales, or 1024 elements.
    pub fn usual(domain: impl Into<Domain>) -> Self {
        let domain = domain.into();
        let (rows, cols) = domain.operation.spec().usual_shape;
        Self::new(domain, rows, cols, false)
    }

    /// A case, laid out; its offsets and threads do not matter.
    ///
    /// # Panics
    /// If the case has no data without weights, or none that is legal.
    pub fn of(case: Case) -> Self {
        let inputs = case.materialize(None).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(inputs.is_legal(), "{case}: {} must be refused", inputs.fault().expect("it is not legal"));
        let elements = |width| {
            let outputs = case.operation.outputs().iter();
            outputs.filter(|&&out| case.operation.width(out) == width).map(|&out| inputs.len(out)).sum()
        };
        Self {
            shape: inputs.shape,
            packed: Aligned::new(0, inputs.packed.kept()),
            codes_in: Aligned::new(1, &inputs.codes),
            scales: inputs.scales.as_deref().map(|scales| Aligned::new(2, scales)),
            x: Aligned::new(3, &inputs.x),
            activations: Aligned::new(6, &inputs.quantized),
            prepared: Vec::new(),
            codes_out: Aligned::new(4, &vec![u8::MAX; elements(size_of::<u8>())]),
            floats_out: Aligned::new(5, &vec![f32::NAN; elements(size_of::<f32>())]),
            case,
        }
    }

    /// The case of the calls: examine a kernel of its operation by it before it is timed.
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// The case of the calls of `kernel`, which may be one of `gemv` where the workload's is of `gemv_fixed`: the same data.
    ///
    /// # Panics
    /// If the workload is of another operation still.
    pub fn case_for(&self, kernel: &dyn Kernel) -> Case {
        let operation = self.operation_of(kernel);
        let digits =
            if operation.has_digits() { self.case.digits } else { Case::new(operation, 1, 1).digits };
        Case { operation, digits, requirements: kernel.domain().requirements, ..self.case.clone() }
    }

    /// Whether the data are such as `kernel` works on.
    pub fn can_time(&self, kernel: &dyn Kernel) -> bool {
        let (own, other) = (self.case.operation, kernel.operation());
        let (mine, its) = (self.case.domain(), kernel.domain());
        if (mine.format, mine.activations) != (its.format, its.activations) {
            return false;
        }
        // A product that states digits has what any other product needs.
        own == other || (own.is_matrix() && own.has_digits() && other.is_matrix() && !other.has_digits())
    }

    fn operation_of(&self, kernel: &dyn Kernel) -> Operation {
        assert!(self.can_time(kernel), "{kernel:?} is timed on another operation: `{}`", self.case);
        kernel.operation()
    }

    /// Weights that a call works on.
    pub fn elements(&self) -> usize {
        self.case.rows * self.case.cols * self.case.batch
    }

    /// Bytes that a call has to move: every buffer once, inputs read and output written.
    pub fn bytes(&self) -> usize {
        let bytes = |buffer| {
            let operation = self.case.operation;
            operation.needed(self.shape, buffer) as usize * operation.width(buffer)
        };
        self.case.buffers().map(bytes).sum()
    }

    /// CPU time of `calls` calls of `kernel`, one after the other. Where they are many, another one goes before them, so
    /// that what ran earlier matters less.
    ///
    /// # Panics
    /// If the kernel does not answer [`Outcome::Done`]: it was not checked on this case. If it is of an operation that the
    /// workload has no arguments for.
    pub fn time(&mut self, kernel: &dyn Kernel, calls: u64) -> Duration {
        self.prepare(kernel);
        let mut arguments = self.arguments();
        let mut done = calls == 1 || call(kernel, arguments.reborrow()) == Outcome::Done;
        let time = cpu_time(|| {
            for _ in 0..calls {
                done &= call(kernel, arguments.reborrow()) == Outcome::Done;
            }
        });
        assert!(done, "{kernel:?} does not do `{}`: check it before it is timed", self.case);
        time
    }

    /// Has the kernel prepare the weights, and returns the CPU time of that; `None` if it does not do that.
    ///
    /// # Panics
    /// As [`time`](Self::time).
    pub fn prepare(&mut self, kernel: &dyn Kernel) -> Option<Duration> {
        self.operation_of(kernel);
        let mut prepared = vec![0; kernel.prepared_bytes(&self.arguments())?];
        let (arguments, mut outcome) = (self.arguments(), Outcome::Unsupported);
        let time = cpu_time(|| outcome = kernel.prepare(&arguments, &mut prepared));
        let is_done = outcome == Outcome::Done;
        assert!(is_done, "{kernel:?} does not prepare `{}`: check it before it is timed", self.case);
        self.prepared = prepared;
        Some(time)
    }

    /// One call.
    ///
    /// # Panics
    /// If the kernel is of an operation that the workload has no arguments for.
    pub fn run(&mut self, kernel: &dyn Kernel) -> Outcome {
        self.prepare(kernel);
        call(kernel, self.arguments())
    }

    /// What the last call wrote: f32 as bits, codes widened.
    pub(crate) fn output(&self) -> Vec<u32> {
        let codes = self.codes_out.get().iter().copied().map(u32::from);
        codes.chain(self.floats_out.get().iter().map(|value| value.to_bits())).collect()
    }

    fn arguments(&mut self) -> Arguments<'_> {
        let Shape { rows, cols, row_stride, batch, x_stride, out_stride, .. } = self.shape;
        Arguments {
            packed: self.packed.get(),
            codes: self.codes_in.get(),
            scales: self.scales.as_ref().map(Aligned::get),
            x: self.x.get(),
            activations: self.activations.get(),
            prepared: &self.prepared,
            out_bytes: self.codes_out.get_mut(),
            out: self.floats_out.get_mut(),
            rows,
            cols,
            row_stride,
            batch,
            x_stride,
            out_stride,
            digits: self.case.digits.into(),
        }
    }
}

/// One call. The compiler does not know of which kernel, so it can neither drop nor move any of it.
#[inline]
fn call(kernel: &dyn Kernel, arguments: Arguments<'_>) -> Outcome {
    black_box(kernel).call(arguments)
}

/// Elements that start at a cache line, the same one of its page in every process.
#[derive(Debug)]
struct Aligned<T> {
    /// Never grows, so never moves.
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// The buffer with this number of its workload.
    fn new(number: usize, elements: &[T]) -> Self {
        let memory = vec![T::default(); elements.len() + (PAGE + number * STAGGER) / size_of::<T>()];
        let start = memory.as_ptr().align_offset(PAGE) + number * STAGGER / size_of::<T>();
        let mut aligned = Self { memory, start, len: elements.len() };
        aligned.get_mut().copy_from_slice(elements);
        aligned
    }

    fn get(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }

    fn get_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    /// Checks addresses and sizes and leaves a mark in the output.
    struct Inspector(Operation);

    impl Kernel for Inspector {
        fn name(&self) -> &str {
            "inspector"
        }

        fn domain(&self) -> Domain {
            Domain::new(self.0)
        }

        fn call(&self, arguments: Arguments<'_>) -> Outcome {
            let Arguments { packed, scales, x, out_bytes, out, rows, cols, row_stride, digits, .. } =
                arguments;
            let all =
                [packed.as_ptr().addr(), x.as_ptr().addr(), out.as_ptr().addr(), out_bytes.as_ptr().addr()];
            assert!(all.iter().all(|address| address % ALIGNMENT == 0), "{all:?}");
            let lengths = [packed.len(), x.len(), out.len(), out_bytes.len()];
            match self.0 {
                Operation::Unpack => assert_eq!(lengths, [128, 0, 0, 300]),
                Operation::Gemv | Operation::GemvFixed => {
                    assert_eq!(lengths, [3 * 128, 300, 3, 0]);
                    assert_eq!((rows, cols, row_stride, digits), (3, 300, 128, 4));
                    assert_eq!(scales.map(<[f32]>::len), (self.0 == Operation::Gemv).then_some(6));
                }
                _ => return Outcome::Unsupported,
            }
            Outcome::Done
        }
    }

    #[test]
    fn a_buffer_lies_at_the_same_place_of_its_page_every_time() {
        for number in 0..6 {
            let first = Aligned::new(number, &[1_u8; 100]);
            let _between = Box::new([0_u8; 77]);
            let second = Aligned::new(number, &[2.0_f32; 5000]);
            let places = [first.get().as_ptr() as usize, second.get().as_ptr() as usize];
            assert_eq!(places.map(|address| address % PAGE), [number * STAGGER; 2], "buffer {number}");
            assert_eq!((first.get(), second.get()), (&[1; 100][..], &[2.0; 5000][..]));
        }
    }

    #[test]
    fn buffers_start_at_cache_lines_and_are_as_long_as_the_shape_says() {
        for operation in [Operation::Unpack, Operation::Gemv, Operation::GemvFixed] {
            Workload::new(operation, 3, 300, true).time(&Inspector(operation), 2);
        }
    }

    #[test]
    #[should_panic(expected = "inspector lut does not do `lut len=300")]
    fn a_kernel_that_does_not_do_the_work_has_no_time() {
        Workload::new(Operation::Lut, 1, 300, false).time(&Inspector(Operation::Lut), 2);
    }

    #[test]
    fn bytes_are_those_of_each_buffer_once() {
        for (operation, rows, cols, scaled, bytes) in [
            (Operation::Unpack, 1, 1024, false, 256 + 1024),
            (Operation::Lut, 1, 1024, false, 1024 + 4096),
            (Operation::Dequantize, 1, 1024, false, 256 + 16 + 4096),
            (Operation::Gemv, 2, 512, false, 256 + 2048 + 8),
            (Operation::Gemv, 2, 512, true, 256 + 16 + 2048 + 8),
            (Operation::GemvFixed, 2, 512, false, 256 + 2048 + 8),
            (Operation::Quantize, 1, 1024, false, 4096 + 256 + 16),
        ] {
            let workload = Workload::new(operation, rows, cols, scaled);
            assert_eq!(workload.bytes(), bytes, "{}", workload.case());
            assert_eq!(workload.elements(), rows * cols, "{}", workload.case());
        }
    }

    #[test]
    fn kernels_of_the_registry_write_the_output_of_the_workload() {
        for kernel in registry::kernels().iter().filter(|kernel| kernel.name() == registry::SCALAR) {
            let mut workload = Workload::new(kernel.domain(), 2, 300, true);
            workload.time(kernel.as_ref(), 1);
            // Of packed codes every byte is one that a kernel may write.
            let is_code = kernel.operation() != Operation::Quantize;
            let unwritten = workload.floats_out.get().iter().filter(|value| value.is_nan()).count()
                + workload.codes_out.get().iter().filter(|&&code| is_code && code == u8::MAX).count();
            assert_eq!(unwritten, 0, "{kernel:?}");
        }
    }

    fn registered(operation: Operation) -> Box<dyn Kernel> {
        let mut kernels = registry::kernels().into_iter();
        let found = kernels.find(|own| own.name() == registry::SCALAR && own.operation() == operation);
        found.expect("scalar kernels do everything")
    }

    #[test]
    fn a_workload_of_gemv_fixed_times_gemv_on_the_same_data() {
        let [fixed, gemv] = [Operation::GemvFixed, Operation::Gemv].map(registered);
        let mut workload =
            Workload::of("gemv_fixed rows=2 cols=300 digits=1 seed=7".parse().expect("a case"));
        workload.time(fixed.as_ref(), 1);
        let rounded = workload.floats_out.get().to_vec();
        workload.time(gemv.as_ref(), 1);
        for (fixed, float) in rounded.iter().zip(workload.floats_out.get()) {
            assert!(fixed != float && (fixed - float).abs() < 2.0, "{fixed} and {float}");
        }
        let case = workload.case_for(gemv.as_ref());
        assert_eq!(case.to_string(), "gemv rows=2 cols=300 dist=unit seed=7");
        let [own, other] = [workload.case(), &case].map(|case| case.materialize(None).expect("it has data"));
        assert_eq!((own.packed, own.x), (other.packed, other.x));
    }

    #[test]
    #[should_panic(expected = "scalar gemv_fixed is timed on another operation: `gemv rows=2 cols=8")]
    fn a_workload_of_gemv_has_no_digits_for_gemv_fixed() {
        let fixed = registered(Operation::GemvFixed);
        Workload::new(Operation::Gemv, 2, 8, false).time(fixed.as_ref(), 1);
    }
}
