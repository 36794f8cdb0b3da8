//! The messages of host and worker, a line of JSON each.

use serde::{Deserialize, Serialize};

use super::declared::Declared;
use crate::case::Case;
use crate::check::{Counts, Plan};
use crate::examiner::Examined;
use crate::order::Revealed;
use crate::property::{Failure, Property};
use crate::timing::Speed;
use crate::trace::Width;

/// What the worker is asked for. Kernels are named by their place in [`Response::Loaded`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Examine kernels by the cases `start..end` of a plan, but for the first kernels of the first case.
    Steps {
        plan: Plan,
        /// The kernels whose cases the plan has, dropped ones among them.
        wanted: Vec<usize>,
        start: u64,
        end: u64,
        /// The first kernel that is called with the first case.
        from_kernel: usize,
        /// Kernels that are not called.
        dropped: Vec<usize>,
    },
    /// Examine a kernel by one case, after the kernels of the library were called with earlier cases.
    Examine {
        kernel: usize,
        /// How often, and the case.
        earlier: Vec<(u64, Case)>,
        case: Box<Case>,
        /// What to look for as well.
        beside: Beside,
    },
    /// Reveal the order in which a row of a matrix is added up.
    Reveal { kernel: usize, rows: usize, cols: usize, row: usize, scaled: bool },
    /// See what a kernel executes.
    Trace { kernel: usize },
    /// Time a kernel beside our own.
    Time { kernel: usize, milliseconds: u64 },
}

/// What costs as much as hundreds of cases, and is looked for where it is asked for.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Beside {
    /// Memory that calls keep.
    pub(super) leaks: bool,
    /// The first calls of processes, by the case itself.
    pub(super) first_calls: bool,
}

impl Beside {
    pub(super) const ALL: Self = Self { leaks: true, first_calls: true };

    /// What shows a violation of `property`.
    pub(super) fn of(property: Property) -> Self {
        Self { leaks: property == Property::Leak, first_calls: property == Property::FirstCall }
    }
}

/// What the worker answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Response {
    /// The first message of a worker: the library's kernels.
    Loaded { kernels: Vec<Declared> },
    /// The library is not a plugin, and why.
    NotLoaded(String),
    /// The worker cannot do its work, and why; the library was not touched.
    NotReady(String),
    /// A violation; more may follow.
    Found { step: u64, kernel: usize, failure: Failure },
    /// The cases are done.
    Done { counts: Vec<Counts>, without_memory: u64 },
    /// The result of one case.
    Examined(Examined),
    /// The order, or why there is no tree.
    Revealed(Result<Revealed, String>),
    /// The widest registers seen in use.
    Traced(Option<Width>),
    /// Kernels by name and their speed, the plugin first.
    Timed(Vec<(String, Speed)>),
    /// A request could not be done.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::fmt::Debug;
    use std::time::Duration;

    use crate::buffer::Buffer;
    use crate::evidence::{Allowed, Bits, Call, Evidence, Miss, Place, Wrong, WrongBlock, WrongCode};
    use crate::memory::Violation;
    use crate::property::Cause;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::case::nth;
    use crate::check::{Budget, Kind, Refusal, Support, Worst};
    use crate::child::line;
    use crate::domain::Domain;
    use crate::judge::WorstError;
    use crate::operation::Operation;
    use crate::plugin::declared::drawn as drawn_declared;
    use crate::property::PropertyCounts;
    use crate::timing::Ratio;

    /// Bits of the values that are written or read wrongly first: infinities, the largest and the smallest, zeros, a NaN.
    const EDGES: [f64; 12] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -2.225073858507201e-308,
        0.0,
        -0.0,
        0.1,
        1e23,
    ];

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![proptest::sample::select(EDGES.to_vec()), any::<u64>().prop_map(f64::from_bits)]
    }

    fn property() -> impl Strategy<Value = Property> {
        proptest::sample::select(Property::ALL.to_vec())
    }

    fn operation() -> impl Strategy<Value = Operation> {
        proptest::sample::select(Operation::ALL.to_vec())
    }

    fn case() -> impl Strategy<Value = Case> {
        (operation(), any::<(u64, u64)>()).prop_map(|(operation, (seed, index))| {
            nth(Domain::nth_drawn(operation, seed as usize), seed, index)
        })
    }

    fn plan() -> impl Strategy<Value = Plan> {
        let time = prop_oneof![
            Just(Duration::MAX),
            any::<(u64, u32)>().prop_map(|(s, n)| { Duration::new(s, n % 1_000_000_000) })
        ];
        let budget = prop_oneof![any::<u64>().prop_map(Budget::Cases), time.prop_map(Budget::Time)];
        (any::<u64>(), budget, any::<u64>(), any::<[bool; 4]>()).prop_map(
            |(seed, budget, seeds, [exhaustive, edges, huge, minimize])| Plan {
                seed,
                budget,
                seeds,
                exhaustive,
                edges,
                huge,
                minimize,
            },
        )
    }

    fn request() -> impl Strategy<Value = Request> {
        let steps =
            (plan(), vec(any::<usize>(), 0..4), any::<(u64, u64, usize)>(), vec(any::<usize>(), 0..4));
        let steps = steps.prop_map(|(plan, wanted, (start, end, from_kernel), dropped)| Request::Steps {
            plan,
            wanted,
            start,
            end,
            from_kernel,
            dropped,
        });
        let examine = (any::<(usize, [bool; 2])>(), vec((any::<u64>(), case()), 0..3), case()).prop_map(
            |((kernel, [leaks, first_calls]), earlier, case)| Request::Examine {
                kernel,
                earlier,
                case: Box::new(case),
                beside: Beside { leaks, first_calls },
            },
        );
        let reveal =
            any::<(usize, usize, usize, usize, bool)>().prop_map(|(kernel, rows, cols, row, scaled)| {
                Request::Reveal { kernel, rows, cols, row, scaled }
            });
        let trace = any::<usize>().prop_map(|kernel| Request::Trace { kernel });
        let time =
            any::<(usize, u64)>().prop_map(|(kernel, milliseconds)| Request::Time { kernel, milliseconds });
        prop_oneof![steps, examine, reveal, trace, time]
    }

    fn failure() -> impl Strategy<Value = Failure> {
        let one = || {
            (property(), cause(), evidence())
                .prop_map(|(property, cause, evidence)| Failure::new(property, cause, evidence))
        };
        (one(), vec(one(), 0..3)).prop_map(|(failure, also)| Failure { also, ..failure })
    }

    fn miss() -> impl Strategy<Value = Miss> {
        let bits = || any::<u32>().prop_map(|bits| Bits::of(f32::from_bits(bits)));
        let near = (bits(), number(), number()).prop_map(|(nearest, bound, error)| Allowed::Near {
            nearest,
            bound,
            error,
        });
        let allowed = prop_oneof![
            bits().prop_map(Allowed::Exactly),
            near,
            Just(Allowed::Infinity(Bits::of(f32::NEG_INFINITY))),
            Just(Allowed::Nan),
            Just(Allowed::NotFinite)
        ];
        let place = prop_oneof![
            any::<usize>().prop_map(Place::Row),
            any::<usize>().prop_map(|index| Place::Element {
                buffer: Buffer::OutScales,
                index,
                block_len: 256
            })
        ];
        (place, bits(), allowed).prop_map(|(place, got, expected)| Miss { place, got, expected })
    }

    fn evidence() -> impl Strategy<Value = Evidence> {
        let wrong = || {
            (any::<(u64, u64)>(), miss(), proptest::option::of(miss().prop_map(Box::new)))
                .prop_map(|((wrong, of), first, worst)| Wrong { wrong, of, first, worst })
        };
        let code = any::<(usize, [u8; 2], Option<u32>)>().prop_map(|(element, codes, value)| WrongCode {
            element,
            codes,
            value: value.map(|bits| Bits::of(f32::from_bits(bits))),
        });
        let block = (any::<usize>(), proptest::option::of(code), [number(), number()]);
        let block = block.prop_map(|(number, code, [error, least])| {
            let scale = [error, least].map(|number| Bits::of(number as f32));
            let first = Box::new(WrongBlock { number, code, scale, error, least });
            Evidence::Blocks { wrong: 1, of: 2, first }
        });
        let call = any::<usize>().prop_map(Call::Number);
        let access = any::<(bool, isize)>().prop_map(|(write, distance)| {
            Evidence::Access(Violation::OutOfBounds { buffer: Buffer::X, write, distance })
        });
        let input = any::<(usize, u8, u8)>().prop_map(|(byte, was, is)| Evidence::Input {
            buffer: Buffer::Packed,
            byte,
            was,
            is,
        });
        prop_oneof![
            wrong().prop_map(Evidence::Judged),
            wrong().prop_map(Evidence::Order),
            block,
            (call, miss()).prop_map(|(call, miss)| Evidence::Further(call, miss)),
            miss().prop_map(Evidence::Repeated),
            access,
            input,
            any::<String>().prop_map(Evidence::Words)
        ]
    }

    fn cause() -> impl Strategy<Value = Cause> {
        let buffer = || proptest::sample::select(Buffer::ALL.to_vec());
        let access = (buffer(), any::<(bool, bool)>())
            .prop_map(|(buffer, (past_end, write))| Cause::OutOfBounds { buffer, past_end, write });
        let plain = [Cause::Accepted, Cause::TooHigh, Cause::NotNan, Cause::Slack, Cause::Process];
        prop_oneof![access, buffer().prop_map(Cause::Changed), proptest::sample::select(plain.to_vec())]
    }

    fn support() -> impl Strategy<Value = (Kind, Support)> {
        any::<(bool, u8, u64, u64)>().prop_map(|(scaled, digits, done, unsupported)| {
            (Kind { scaled, digits }, Support { done, unsupported })
        })
    }

    fn counts() -> impl Strategy<Value = Counts> {
        let worst = (number(), number(), case())
            .prop_map(|(absolute, ulps, case)| Worst { error: WorstError { absolute, ulps }, case });
        let whole = any::<(u64, u64, u64, u64, [bool; 2], Option<(usize, usize)>)>();
        let refused = (any::<u64>(), proptest::option::of((case(), any::<String>())));
        let properties = vec((property(), 1..=u64::MAX), 0..4);
        let properties = properties.prop_map(|all| PropertyCounts::from(BTreeMap::from_iter(all)));
        (whole, (vec(support(), 0..3), refused), properties, proptest::option::of(worst), number()).prop_map(
            |(whole, (support, (refused, smallest)), properties, worst, share)| {
                let (cases, wrong_sizes, unsupported, failed, [unexplained, rounds_once], depth) = whole;
                Counts {
                    cases,
                    wrong_sizes,
                    unsupported,
                    failed,
                    support: support.into_iter().collect(),
                    refused,
                    smallest_refused: smallest.map(|(case, why)| Refusal { case, why }),
                    properties,
                    worst,
                    unexplained,
                    rounds_once,
                    share,
                    depth,
                }
            },
        )
    }

    fn speed() -> impl Strategy<Value = Speed> {
        let ratio = || {
            let ratio = (number(), number(), number());
            proptest::option::of(ratio.prop_map(|(median, low, high)| Ratio { median, low, high }))
        };
        (any::<(usize, usize, Option<u64>)>(), number(), ratio(), [ratio(), ratio()]).prop_map(
            |((rows, cols, prepare_nanoseconds), nanoseconds, over_scalar, [over_fast_scalar, over_twin])| {
                Speed {
                    rows,
                    cols,
                    nanoseconds,
                    prepare_nanoseconds,
                    over_scalar,
                    over_fast_scalar,
                    over_twin,
                }
            },
        )
    }

    fn response() -> impl Strategy<Value = Response> {
        let loaded = vec(drawn_declared(), 0..3).prop_map(|kernels| Response::Loaded { kernels });
        let found = (any::<(u64, usize)>(), failure())
            .prop_map(|((step, kernel), failure)| Response::Found { step, kernel, failure });
        let done = (vec(counts(), 0..3), any::<u64>())
            .prop_map(|(counts, without_memory)| Response::Done { counts, without_memory });
        let examined = (any::<Option<String>>(), vec(property(), 0..4), vec(failure(), 0..3)).prop_map(
            |(skipped, properties, failures)| Response::Examined(Examined { skipped, properties, failures }),
        );
        let revealed = any::<Result<(String, String, String, Vec<String>), String>>().prop_map(|revealed| {
            let revealed =
                revealed.map(|(words, dot, svg, differing)| Revealed { words, dot, svg, differing });
            Response::Revealed(revealed)
        });
        let width =
            proptest::sample::select(vec![Width::Narrow, Width::Bits256, Width::Bits512, Width::NotReached]);
        prop_oneof![
            loaded,
            any::<String>().prop_map(Response::NotLoaded),
            any::<String>().prop_map(Response::NotReady),
            found,
            done,
            examined,
            revealed,
            proptest::option::of(width).prop_map(Response::Traced),
            vec((any::<String>(), speed()), 0..3).prop_map(Response::Timed),
            any::<String>().prop_map(Response::Failed),
        ]
    }

    /// Fails to compile when a message is new: it must then be drawn above.
    fn kind(message: &Request) -> &'static str {
        match message {
            Request::Steps { .. } => "steps",
            Request::Examine { .. } => "examine",
            Request::Reveal { .. } => "reveal",
            Request::Trace { .. } => "trace",
            Request::Time { .. } => "time",
        }
    }

    fn kind_of_response(message: &Response) -> &'static str {
        match message {
            Response::Loaded { .. } => "loaded",
            Response::NotLoaded(_) => "not loaded",
            Response::NotReady(_) => "not ready",
            Response::Found { .. } => "found",
            Response::Done { .. } => "done",
            Response::Examined(_) => "examined",
            Response::Revealed(_) => "revealed",
            Response::Traced(_) => "traced",
            Response::Timed(_) => "timed",
            Response::Failed(_) => "failed",
        }
    }

    /// Sends drawn messages through a line of JSON. `{:?}` tells apart all values but two NaN.
    fn survives<T: Serialize + for<'de> Deserialize<'de> + Debug>(
        messages: impl Strategy<Value = T>,
        kind: fn(&T) -> &'static str,
        kinds: usize,
    ) {
        let met = std::cell::RefCell::new(HashSet::new());
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) };
        let run = TestRunner::new(config).run(&messages, |message| {
            met.borrow_mut().insert(kind(&message));
            let line = line(&message);
            let text = String::from_utf8_lossy(&line);
            prop_assert_eq!(text.matches('\n').count(), 1, "one line: {}", text);
            let read: T = serde_json::from_slice(&line)
                .map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
            prop_assert_eq!(format!("{:?}", read), format!("{:?}", message));
            Ok(())
        });
        run.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(met.into_inner().len(), kinds, "every kind of message was drawn");
    }

    #[test]
    fn every_request_is_read_as_it_was_written() {
        survives(request(), kind, 5);
    }

    #[test]
    fn every_response_is_read_as_it_was_written() {
        survives(response(), kind_of_response, 10);
    }

    #[test]
    fn numbers_keep_their_bits_and_are_numbers_where_json_has_them() {
        for number in EDGES {
            let counts = Counts { share: number, ..Counts::default() };
            let line = line(&counts);
            let read: Counts = serde_json::from_slice(&line).expect("what was written can be read");
            let same = read.share.to_bits() == number.to_bits() || number.is_nan() && read.share.is_nan();
            assert!(same, "{number:?} became {:?}", read.share);
            let value: serde_json::Value = serde_json::from_slice(&line).expect("it is JSON");
            assert_eq!(value["share"].is_number(), number.is_finite(), "{number}: {value}");
            assert_eq!(value["share"].is_string(), !number.is_finite(), "{number}: {value}");
        }
    }
}
