//! What a process wrote to standard error before it ended: the line that says why.

/// Characters of a message that are shown.
const SHOWN: usize = 300;

/// The last message in `text`, such as the C library's of a broken heap: one line, or the whole message of a panic, without its backtrace.
pub fn last_message(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let end = 1 + lines.iter().rposition(|line| !is_about_a_panic(line))?;
    let is_head = |line: &&str| line.starts_with("thread '") && line.contains(" panicked at ");
    let head = lines[..end].iter().rposition(is_head);
    // A panic that was caught earlier is not the reason: its backtrace, or its note, lies between.
    let own =
        head.map(|head| &lines[head + 1..end]).filter(|own| !own.iter().any(|line| is_about_a_panic(line)));
    let message =
        own.filter(|own| !own.is_empty()).map_or_else(|| lines[end - 1].to_owned(), |own| own.join(" "));
    Some(message.chars().take(SHOWN).collect())
}

/// Whether a line says of a panic where it was, or how to see more of it, and not what it was.
fn is_about_a_panic(line: &str) -> bool {
    let is_frame =
        line.split_once(": ").is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let is_of_abort = line.contains(" panicked at ") && line.contains("core/src/panicking.rs:");
    let others = [
        "at ",
        "note: ",
        "stack backtrace:",
        "panic in a function that cannot unwind",
        "thread caused non-unwinding panic",
    ];
    is_frame || is_of_abort || others.iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANIC: &str =
        "\nthread '<unnamed>' panicked at src/lib.rs:10:5:\nassertion failed\n  left: 1\n right: 2\n";
    const NOTE: &str = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
    const TRACE: &str = "stack backtrace:\n   0: std::panicking::panic_handler\n             at /rustc/lib.rs:5:1\n  \
                         1: qk256_gemv\nnote: Some details are omitted.\n";
    const ABORT: &str = "\nthread '<unnamed>' panicked at library/core/src/panicking.rs:230:5:\n\
                         panic in a function that cannot unwind\n";

    #[test]
    fn a_panic_is_reported_by_its_message_and_not_by_its_backtrace() {
        let last = "thread caused non-unwinding panic. aborting.\n";
        for behind in [
            NOTE.to_owned(),
            TRACE.to_owned(),
            format!("{NOTE}{ABORT}{last}"),
            format!("{TRACE}{ABORT}{TRACE}{last}"),
        ] {
            let text = format!("before\n{PANIC}{behind}");
            assert_eq!(last_message(&text).as_deref(), Some("assertion failed left: 1 right: 2"), "{text}");
        }
    }

    #[test]
    fn what_is_said_after_a_panic_that_was_caught_comes_first() {
        for behind in [NOTE, TRACE] {
            let text = format!("{PANIC}{behind}double free or corruption (out)\n");
            assert_eq!(last_message(&text).as_deref(), Some("double free or corruption (out)"), "{text}");
        }
    }

    #[test]
    fn without_a_panic_it_is_the_last_line() {
        assert_eq!(last_message("one\ntwo\n\n").as_deref(), Some("two"));
        assert_eq!(last_message("\n"), None);
        assert_eq!(last_message(NOTE), None);
        assert_eq!(last_message(&"x".repeat(1000)).map(|text| text.len()), Some(SHOWN));
    }
}
