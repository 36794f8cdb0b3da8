//! From counts of columns to the tree.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::Order;
use super::model::Model;
use super::probe::{Probe, RevealError, Subject};
use crate::kernel::Kernel;
use crate::memory::Placement;

/// The order in which `kernel` adds up the row in question, and the arithmetic on it.
///
/// The model has been tried: it predicts the bits of a hundred rows with weights of 1 and of a hundred with random codes, half of each of
/// numbers with wild exponents.
///
/// # Errors
/// [`RevealError`]; [`RevealError::NoTree`] for a kernel that is right and adds more than two numbers at once, in an order that depends on
/// the codes, or in a way that no [`Model`] knows.
///
/// # Panics
/// If the kernel does.
pub fn reveal(kernel: &dyn Kernel, subject: Subject) -> Result<Model, RevealError> {
    reveal_at(kernel, subject, Placement::EndFlush)
}

/// The same, with every buffer so placed.
fn reveal_at(kernel: &dyn Kernel, subject: Subject, placement: Placement) -> Result<Model, RevealError> {
    let mut probe = Probe::new(kernel, subject, placement)?;
    let mut builder = Builder {
        probe: &mut probe,
        nodes: Vec::new(),
        cols: subject.cols,
        rng: ChaCha8Rng::seed_from_u64(0),
    };
    let columns: Vec<usize> = (0..subject.cols).collect();
    let root = if columns.is_empty() { None } else { Some(builder.tree(columns)?) };
    let nodes = builder.nodes;
    let order = canonical(subject.cols, &nodes, root);
    Model::fit(&mut probe, &order)
}

/// Whether `kernel` adds as `model` says where else a row of N columns may stand: in a tile of rows, at other addresses, on
/// another thread. Those of the places where it does not, in words.
///
/// # Errors
/// As [`reveal`], but for [`RevealError::NoTree`], which is another order.
///
/// # Panics
/// If the kernel does.
pub fn differing_places(
    kernel: &dyn Kernel,
    model: &Model,
    scaled: bool,
) -> Result<Vec<String>, RevealError> {
    let cols = model.order().cols();
    let alone = Subject::of(kernel, cols, scaled);
    let mut places: Vec<(String, Subject, Placement)> = ROWS_TRIED
        .into_iter()
        .map(|(rows, row)| {
            let rows = kernel.domain().requirements.rows(rows);
            (format!("row {row} of {rows}"), Subject { rows, row, ..alone }, Placement::EndFlush)
        })
        .collect();
    places.extend(
        OFFSETS_TRIED
            .map(|offset| (format!("{offset} bytes past a page"), alone, Placement::StartFlush { offset })),
    );
    let mut differing = Vec::new();
    let mut differs = |place: String, revealed: Result<Model, RevealError>| match revealed {
        Ok(other) if other == *model => Ok(()),
        Ok(_) | Err(RevealError::NoTree(_)) => {
            differing.push(place);
            Ok(())
        }
        Err(error) => Err(error),
    };
    for (place, subject, placement) in places {
        differs(place, reveal_at(kernel, subject, placement))?;
    }
    let elsewhere = std::thread::scope(|scope| scope.spawn(|| reveal(kernel, alone)).join());
    differs("another thread".to_owned(), elsewhere.expect("the kernel does not panic elsewhere either"))?;
    Ok(differing)
}

/// Rows and row in question: within tiles, and in what is left over of them.
const ROWS_TRIED: [(usize, usize); 6] = [(2, 1), (5, 2), (8, 7), (17, 16), (33, 32), (50, 7)];

/// Bytes, multiples of four since f32 are aligned.
const OFFSETS_TRIED: [usize; 3] = [0, 4, 20];

struct Builder<'p, 'k> {
    probe: &'p mut Probe<'k>,
    /// What each addition adds; numbers as in [`Order`].
    nodes: Vec<[usize; 2]>,
    cols: usize,
    rng: ChaCha8Rng,
}

impl Builder<'_, '_> {
    /// The number of the node below which exactly these columns lie. The way up from one of them, chosen at random so that no
    /// shape of tree takes many questions, splits the others by how many columns lie below where they join.
    fn tree(&mut self, columns: Vec<usize>) -> Result<usize, RevealError> {
        let pivot = columns[self.rng.next_u64() as usize % columns.len()];
        let mut joining: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &column in columns.iter().filter(|&&column| column != pivot) {
            joining.entry(self.probe.together(pivot, column)?).or_default().push(column);
        }
        let (mut node, mut below) = (pivot, 1);
        for (together, columns) in joining {
            below += columns.len();
            if below != together {
                let what = format!(
                    "{together} columns meet where {below} would, at columns {pivot} and {}",
                    columns[0]
                );
                return Err(RevealError::NoTree(what));
            }
            let other = self.tree(columns)?;
            self.nodes.push([node, other]);
            node = self.cols + self.nodes.len() - 1;
        }
        Ok(node)
    }
}

/// The tree in the one form that equal trees share: below each addition the part with the smallest column first, and additions
/// in the order in which a walk from the left finishes them.
fn canonical(cols: usize, nodes: &[[usize; 2]], root: Option<usize>) -> Order {
    let mut smallest: Vec<usize> = (0..cols).collect();
    for &[a, b] in nodes {
        smallest.push(smallest[a].min(smallest[b]));
    }
    let mut order = Order { cols, sums: Vec::with_capacity(nodes.len()) };
    let mut renamed: Vec<usize> = (0..cols + nodes.len()).collect();
    // Each node is seen on the way down, and once more when what is below it is done.
    let mut walk: Vec<(usize, bool)> = root.map(|root| (root, false)).into_iter().collect();
    while let Some((node, is_done)) = walk.pop() {
        let Some(&[mut a, mut b]) = node.checked_sub(cols).and_then(|at| nodes.get(at)) else { continue };
        if smallest[b] < smallest[a] {
            (a, b) = (b, a);
        }
        if is_done {
            order.sums.push([renamed[a], renamed[b]]);
            renamed[node] = cols + order.sums.len() - 1;
        } else {
            walk.extend([(node, true), (b, false), (a, false)]);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::{Precision, Scaling};
    use super::*;
    use crate::domain::Domain;
    use crate::format::QK256;
    use crate::kernel::{Arguments, KernelFn, Outcome, missing_features};
    use crate::operation::Operation;
    use crate::registry;
    use crate::requirements::Requirements;

    /// The gemv kernels that this CPU can run. For the others a skip is reported.
    fn kernels() -> Vec<Box<dyn Kernel>> {
        let mut kernels = registry::kernels();
        kernels.retain(|kernel| kernel.operation() == Operation::Gemv);
        kernels.retain(|kernel| {
            let missing = missing_features(kernel.required_features());
            if !missing.is_empty() {
                qk256_skip::skip_part(&format!("{kernel:?}"), &missing);
            }
            missing.is_empty()
        });
        kernels
    }

    fn row(cols: usize) -> Subject {
        Subject::one_row(cols, false)
    }

    /// The products of the one row of a matrix.
    fn terms(packed: &[u8], x: &[f32]) -> Vec<f32> {
        let weight = |c| f32::from(QK256.weight(QK256.code(packed, c)));
        x.iter().enumerate().map(|(c, x)| weight(c) * x).collect()
    }

    /// A kernel that adds up the products of a row in its own way.
    macro_rules! adding {
        ($name:literal, $add:expr) => {
            KernelFn {
                name: $name,
                domain: Domain::new(Operation::Gemv),
                required_features: &[],
                refuses_wrong_sizes: false,
                call: |arguments| {
                    let Arguments { packed, x, out: y, .. } = arguments;
                    let add: fn(&[f32]) -> f32 = $add;
                    y.fill(add(&terms(packed, x)));
                    Outcome::Done
                },
            }
        };
    }

    #[test]
    fn known_orders_are_found() {
        let right = adding!("right", |x| x.iter().rev().fold(0.0, |sum, x| x + sum));
        let order = reveal(&right, row(5)).unwrap();
        assert_eq!(order.order().sums, [[3, 4], [2, 5], [1, 6], [0, 7]]);
        fn pairs(x: &[f32]) -> f32 {
            if let [x] = x { *x } else { pairs(&x[..x.len() / 2]) + pairs(&x[x.len() / 2..]) }
        }
        let order = reveal(&adding!("pairs", pairs), row(8)).unwrap();
        assert_eq!((order.order().depth(), order.order().partial_sums().len()), (3, 4));
        let left = adding!("left", |x| x.iter().sum());
        assert_eq!(reveal(&left, row(2000)).unwrap().order().partial_sums(), [(0..2000).collect::<Vec<_>>()]);
        for cols in [0, 1, 2] {
            assert_eq!(
                reveal(&left, row(cols)).unwrap().order().depth(),
                cols.saturating_sub(1),
                "{cols} columns"
            );
        }
    }

    #[test]
    fn a_kernel_is_asked_within_what_it_requires() {
        const REQUIRED: Requirements = Requirements {
            rows_multiple: 4,
            alignment: 32,
            over_read: 12,
            max_code: Some(2),
            ..Requirements::NONE
        };
        let kernel = KernelFn {
            name: "demanding",
            domain: Domain::new(Operation::Gemv).requiring(REQUIRED),
            required_features: &[],
            refuses_wrong_sizes: false,
            call: |arguments| {
                let Arguments { packed, x, out: y, rows, cols, row_stride, .. } = arguments;
                let is_aligned = |at: usize| at.is_multiple_of(REQUIRED.alignment as usize);
                let are_aligned = [packed.as_ptr() as usize, x.as_ptr() as usize, y.as_ptr() as usize];
                let is_code = |row: &[u8]| QK256.codes(row, cols).iter().all(|&code| code <= 2);
                if !rows.is_multiple_of(4)
                    || !are_aligned.into_iter().all(is_aligned)
                    || !packed.chunks(row_stride).all(is_code)
                {
                    return Outcome::Refused;
                }
                let behind = x.as_ptr_range().end.wrapping_add(2);
                // SAFETY: three elements past the end of x may be read, which the requirements say.
                _ = std::hint::black_box(unsafe { behind.read_volatile() });
                let sum = |row| terms(row, x).into_iter().sum();
                y.iter_mut().zip(packed.chunks(row_stride)).for_each(|(y, row)| *y = sum(row));
                Outcome::Done
            },
        };
        let model = reveal(&kernel, Subject { rows: 4, ..row(9) }).expect("it adds from left to right");
        assert_eq!(differing_places(&kernel, &model, false), Ok(Vec::new()));
    }

    #[test]
    fn what_no_tree_explains_is_said() {
        let wide = adding!("wide", |x| x.iter().map(|&x| f64::from(x)).sum::<f64>() as f32);
        // Three at a time, without rounding between them where large numbers cancel.
        let three = adding!("three", |x| {
            let fused = |x: &[f32]| {
                let mut x = x.to_vec();
                x.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
                x.iter().sum::<f32>()
            };
            x.chunks(3).map(fused).sum()
        });
        let constant = adding!("constant", |_| 0.5);
        let pairs_in_f64 = adding!("pairs in f64", |x| {
            x.chunks(2).map(|pair| pair.iter().map(|&x| f64::from(x)).sum::<f64>() as f32).sum()
        });
        assert!(reveal(&pairs_in_f64, row(8)).is_ok(), "two f32 added in f64 round as in f32");
        let short =
            adding!("11 bits of x", |x| { x.iter().map(|x| f32::from_bits(x.to_bits() & !0x1fff)).sum() });
        for (kernel, what) in [(short, "no precision"), (three, "meet where"), (constant, "have met")] {
            let error = reveal(&kernel, row(9)).expect_err(kernel.name).to_string();
            assert!(error.contains(what), "{}: {error}", kernel.name);
        }
        for cols in 3..70 {
            let model = reveal(&wide, row(cols)).unwrap();
            assert_eq!(model.precision(), Precision::F64, "{cols} columns");
        }
        let unpack = registry::kernels().swap_remove(0);
        assert_eq!(reveal(unpack.as_ref(), row(9)), Err(RevealError::NotGemv(Operation::Unpack)));
        let outside = Subject { rows: 3, row: 3, ..row(9) };
        let left = adding!("left", |x| x.iter().sum());
        assert_eq!(reveal(&left, outside), Err(RevealError::NoRow(outside)));
        for (rows, cols) in [(1, usize::MAX), (usize::MAX, 9), (1 << 30, 300)] {
            let large = Subject { rows, ..row(cols) };
            assert_eq!(reveal(&left, large), Err(RevealError::TooLarge(large)));
        }
    }

    #[test]
    fn the_orders_of_our_kernels_are_those_that_they_state() {
        for kernel in kernels() {
            let order =
                reveal(kernel.as_ref(), row(1024)).unwrap_or_else(|error| panic!("{kernel:?}: {error}"));
            let order = order.order();
            let (parts, depth) = match kernel.name() {
                "scalar" => (1, 1023),
                name if name.starts_with("fast_scalar") => (8, 127 + 3),
                _ => (64, 15 + 6),
            };
            assert_eq!((order.partial_sums().len(), order.depth()), (parts, depth), "{kernel:?}");
        }
    }

    /// The tree of partial sums that are added pairwise: column `c` goes to number `part(c)`, then the second half of the
    /// numbers is added to the first, and so on; `halves` are those that remain each time.
    fn by_rule(cols: usize, part: impl Fn(usize) -> usize, halves: &[usize]) -> Order {
        let mut nodes = Vec::new();
        let mut add = |a: Option<usize>, b: Option<usize>| match (a, b) {
            (Some(a), Some(b)) => {
                nodes.push([a, b]);
                Some(cols + nodes.len() - 1)
            }
            (one, other) => one.or(other),
        };
        let mut parts = vec![None; 2 * halves[0]];
        for column in 0..cols {
            parts[part(column)] = add(parts[part(column)], Some(column));
        }
        for &half in halves {
            for at in 0..half {
                parts[at] = add(parts[at], parts[at + half]);
            }
        }
        canonical(cols, &nodes, parts[0])
    }

    /// The orders that `Avx2::gemv` and `fast_scalar::gemv` state in their documentation.
    #[test]
    fn kernels_add_as_their_documentation_says() {
        for kernel in kernels() {
            for cols in [17, 31, 64, 100, 128, 129, 200, 255, 256, 300, 511, 1024, 1100] {
                let avx2 = |c: usize| c / 16 % 8 * 8 + c % 8;
                let expected = match kernel.name() {
                    "scalar" => by_rule(cols, |_| 0, &[1]),
                    // A last block that is not whole has sums of its own.
                    name if name.starts_with("fast_scalar") && cols.is_multiple_of(256) => {
                        by_rule(cols, |c| c % 8, &[4, 2, 1])
                    }
                    name if name.starts_with("fast_scalar") => {
                        let part = |c: usize| c % 8 + if c < cols / 256 * 256 { 0 } else { 8 };
                        by_rule(cols, part, &[8, 4, 2, 1])
                    }
                    _ => by_rule(cols, avx2, &[32, 16, 8, 4, 2, 1]),
                };
                let model = reveal(kernel.as_ref(), row(cols)).unwrap();
                assert!(*model.order() == expected, "{kernel:?}, {cols} columns");
            }
        }
    }

    #[test]
    fn a_row_is_added_in_the_same_way_wherever_it_stands() {
        for kernel in kernels() {
            for scaled in [false, true] {
                let alone = reveal(kernel.as_ref(), Subject::one_row(300, scaled)).unwrap();
                let differing = differing_places(kernel.as_ref(), &alone, scaled).unwrap();
                assert!(differing.is_empty(), "{kernel:?}: {differing:?}");
            }
        }
    }

    #[test]
    fn another_order_elsewhere_is_found() {
        let by_address = KernelFn {
            call: |arguments| {
                let Arguments { packed, x, out: y, .. } = arguments;
                let terms = terms(packed, x);
                y.fill(match x.as_ptr().addr() % 32 {
                    20 => terms.iter().rev().sum(),
                    _ => terms.iter().sum(),
                });
                Outcome::Done
            },
            ..adding!("by address", |_| 0.0)
        };
        let alone = reveal(&by_address, row(9)).unwrap();
        assert_eq!(differing_places(&by_address, &alone, false).unwrap(), ["20 bytes past a page"]);
    }

    /// A kernel that adds up the products of a row times scales in its own way.
    macro_rules! scaling {
        ($name:literal, $add:expr) => {
            KernelFn {
                call: |arguments| {
                    let Arguments { packed, x, scales: Some(scales), out: y, .. } = arguments else {
                        return Outcome::Unsupported;
                    };
                    let add: fn(&[f32], &[f32]) -> f32 = $add;
                    y.fill(add(&terms(packed, x), scales));
                    Outcome::Done
                },
                ..adding!($name, |_| 0.0)
            }
        };
    }

    #[test]
    fn scales_are_found_where_they_are_applied() {
        let term = scaling!("term", |x, s| x.iter().enumerate().map(|(c, x)| x * s[c / 256]).sum());
        let fused =
            scaling!("fused", |x, s| x.iter().enumerate().fold(0.0, |y, (c, x)| x.mul_add(s[c / 256], y)));
        let block =
            scaling!("block", |x, s| { x.chunks(256).zip(s).map(|(x, s)| x.iter().sum::<f32>() * s).sum() });
        let fused_block = scaling!("fused block", |x, s| {
            x.chunks(256).zip(s).fold(0.0, |y, (x, s)| x.iter().sum::<f32>().mul_add(*s, y))
        });
        let wide = scaling!("wide", |x, s| {
            let term = |(c, x): (usize, &f32)| f64::from(*x) * f64::from(s[c / 256]);
            x.iter().enumerate().map(term).sum::<f64>() as f32
        });
        let narrow_blocks = scaling!("f32 in blocks", |x, s| {
            let block = |(x, s): (&[f32], &f32)| f64::from(x.iter().sum::<f32>()) * f64::from(*s);
            x.chunks(256).zip(s).map(block).sum::<f64>() as f32
        });
        for cols in [9_usize, 257, 600] {
            // Of a fused sum the first product has nothing to be added to.
            for (kernel, precision, scaling, fused) in [
                (term, Precision::F32, Scaling::Term, 0),
                (fused, Precision::F32, Scaling::Term, cols - 1),
                (block, Precision::F32, Scaling::Block, 0),
                (fused_block, Precision::F32, Scaling::Block, cols.div_ceil(256) - 1),
                (wide, Precision::F64, Scaling::Term, 0),
                (narrow_blocks, Precision::F32InBlocks, Scaling::Block, 0),
            ] {
                let model = reveal(&kernel, Subject::one_row(cols, true));
                let model = model.unwrap_or_else(|error| panic!("{kernel:?}, {cols} columns: {error}"));
                if cols > 256 || precision != Precision::F32InBlocks {
                    assert_eq!(
                        (model.precision(), model.scaling(), model.fused().0),
                        (precision, scaling, fused),
                        "{kernel:?}, {cols} columns"
                    );
                }
            }
        }
    }
}
