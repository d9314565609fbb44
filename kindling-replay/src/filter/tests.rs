//! The language from text to answer.

use super::*;

/// One event: a read of 20 ms by nginx from a connection of Redis's.
struct Read;

impl Facts for Read {
    fn fact(&self, field: Field) -> Fact<'_> {
        match field {
            Field::EventKind => Fact::text(Some("syscall")),
            Field::Ts => Fact::Number(1_500_000_000),
            Field::Dur => Fact::Number(20_000_000),
            Field::Tid | Field::Pid => Fact::Number(7),
            Field::ThreadComm => Fact::text(Some("nginx: worker")),
            Field::SyscallName => Fact::text(Some("read")),
            Field::SyscallNr => Fact::Number(0),
            Field::Arg0 => Fact::Number(0xffff_ffff_ffff_ffff),
            Field::Ret => Fact::Number(-11),
            Field::Errno => Fact::Number(11),
            Field::FilePath => Fact::text(Some("/var/lib/app/a b.log")),
            Field::FileKind => Fact::text(Some("regular")),
            Field::PeerAddress => Fact::text(Some("10.1.2.3")),
            Field::Port => Fact::both(Fact::Number(40_000), Fact::Number(6379)),
            Field::PayloadSize => Fact::Number(4096),
            Field::PayloadData => Fact::Bytes(b"GET /api/v2\r\n\xff"),
            Field::Irq => Fact::Number(1),
            Field::Preempted => Fact::Number(0),
            _ => Fact::Absent,
        }
    }
}

#[test]
fn conditions_on_one_event() {
    let cases = [
        ("syscall.name == read", true),
        ("syscall.name == 'read'", true),
        ("syscall.name != read", false),
        ("syscall.name in (write, read)", true),
        ("dur > 10ms", true),
        ("dur >= 20ms and dur <= 0.02s", true),
        ("dur<20ms", false),
        ("ret < 0", true),
        ("ret in (-11, 0)", true),
        ("ret in (-20..-12)", false),
        ("ret in (-20..-11)", true),
        ("errno == EAGAIN", true),
        ("errno == 11", true),
        ("errno in (EINTR, EAGAIN)", true),
        ("errno", true),
        ("not errno", false),
        ("syscall.arg0 == 0xffffffffffffffff", true),
        ("thread.comm == \"nginx: worker\"", true),
        ("thread.comm glob \"nginx*\"", true),
        ("thread.comm glob nginx", false),
        ("thread.comm glob 'nginx?*worker'", true),
        ("thread.comm contains worker", true),
        ("thread.comm matches \"^nginx: w\"", true),
        ("thread.comm matches \"(?i)NGINX\"", true),
        ("file.path glob /var/lib/*", true),
        ("file.path glob /var/*.log", true),
        ("file.kind == regular", true),
        ("file.kind in (pipe, tcp)", false),
        ("net.peer.address == 10.1.2.3", true),
        ("net.peer.address == 10.0.0.0/8", true),
        ("net.peer.address in (192.168.0.0/16, ::1)", false),
        ("net.port == 6379", true),
        ("net.port != 6379", false),
        ("net.port != 80", true),
        ("net.port > 50000", false),
        ("payload.size >= 4KiB", true),
        ("payload.size > 4KiB", false),
        ("payload.data contains \"GET \"", true),
        ("payload.data matches \"v\\d\\r\\n\"", true),
        ("payload.data contains \"\"", true),
        ("wakeup.irq", true),
        ("switch.preempted", false),
        ("switch.preempted == false", true),
        ("not switch.preempted", true),
        // What is not there passes no test.
        ("container.id", false),
        ("container.id exists", false),
        ("container.id == x", false),
        ("container.id != x", false),
        ("not container.id == x", true),
        ("cpu < 4", false),
        // Precedence: not, and, or.
        ("cpu or dur and ret < 0", true),
        ("(cpu or dur) and ret > 0", false),
        ("not cpu and dur", true),
        ("not (cpu or dur)", false),
        ("!cpu&&dur||cpu", true),
        ("ts >= 1.5s", true),
        ("ts > 1500ms", false),
        ("event.kind == syscall", true),
        ("thread.tid == 7 and process.pid in (6, 7)", true),
    ];
    for (text, expect) in cases {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(filter.holds(&Read), expect, "{text}");
        assert_eq!(filter.judge(&Read), Some(expect), "{text}");
    }
}

#[test]
fn errors_point_at_the_place_and_say_what_to_do() {
    let cases = [
        (
            "dur > 10ms and syscall.nam == read",
            "\
--where, column 16: there is no field `syscall.nam`
  dur > 10ms and syscall.nam == read
                 ^^^^^^^^^^^
  did you mean syscall.name? `--where help` lists all fields",
        ),
        (
            "dur > 10",
            "\
--where, column 7: expected a time with its unit: 10ms, 1.5s, 200us, found `10`
  dur > 10
        ^^",
        ),
        (
            "(dur > 1ms",
            "\
--where, column 11: expected `and`, `or` or `)`, found the end
  (dur > 1ms
            ^",
        ),
        (
            "dur > 1ms)",
            "\
--where, column 10: this `)` closes nothing: expected the end
  dur > 1ms)
           ^",
        ),
        (
            "thread.comm > a",
            "\
--where, column 1: `>` is for numbers, sizes and times, and thread.comm is of type text
  thread.comm > a
  ^^^^^^^^^^^
  what it can be asked: == != in contains glob matches exists",
        ),
        (
            "ret = 0",
            "\
--where, column 5: unexpected `=`
  ret = 0
      ^
  equality is `==`",
        ),
        (
            "syscall.name == raed",
            "\
--where, column 17: expected the name of a syscall, found `raed`
  syscall.name == raed
                  ^^^^
  did you mean read?",
        ),
        (
            "file.path matches 'a('",
            "\
--where, column 19: no regular expression: unclosed group
  file.path matches 'a('
                    ^^^^",
        ),
        (
            "thread.comm == \"ä\" ret",
            "\
--where, column 20: expected `and`, `or` or the end, found `ret`
  thread.comm == \"ä\" ret
                     ^^^",
        ),
        (
            "",
            "\
--where, column 1: expected a field, `not` or `(`, found the end
  
  ^",
        ),
    ];
    for (text, expect) in cases {
        let error = Filter::parse(text).unwrap_err();
        assert_eq!(error.to_string(), expect);
    }
    let wrong = [
        "dur",
        "dur glob x",
        "errno == ENOTHING",
        "net.port in ()",
        "net.port in (1..",
        "net.port in (9..1)",
        "net.peer.address == 10.0.0",
        "file.kind == file",
        "wakeup.irq == maybe",
        "ts > yesterday",
        "payload.size > 4KB",
        "dur ==",
        "== 1",
        "not",
        "and",
        "'dur' > 1ms",
        "thread.comm == 'a",
        "a & b",
        "ret == 1 ret == 2",
    ];
    for text in &wrong[1..] {
        assert!(Filter::parse(text).is_err(), "{text}");
    }
    assert!(Filter::parse(wrong[0]).is_ok());
}

/// Facts of many events: nothing is known but the moment, the processes and the kind.
struct Member;

impl Facts for Member {
    fn fact(&self, field: Field) -> Fact<'_> {
        match field {
            Field::EventKind => Fact::text(Some("syscall")),
            Field::Ts => Fact::Between(1_000, 2_000),
            Field::Pid => Fact::OneOf(&[5, 7]),
            Field::PayloadSize => Fact::Absent,
            _ => Fact::Unknown,
        }
    }
}

#[test]
fn many_events_are_judged_at_once() {
    let cases = [
        ("ts < 1us", Some(false)),
        ("ts <= 1us", None),
        ("ts <= 2us", Some(true)),
        ("ts > 2us", Some(false)),
        ("ts != 3us", Some(true)),
        ("ts == 3us", Some(false)),
        ("ts in (0ns..999ns, 2001ns..9s)", Some(false)),
        ("process.pid == 5", None),
        ("process.pid in (5, 7, 9)", Some(true)),
        ("process.pid == 6", Some(false)),
        ("process.pid == 6 and dur > 1s", Some(false)),
        ("process.pid == 6 or dur > 1s", None),
        ("not process.pid == 6", Some(true)),
        ("not (ts < 1us or payload.size > 0)", Some(true)),
        ("payload.size > 0", Some(false)),
        ("event.kind == wakeup and dur > 1s", Some(false)),
        ("thread.comm == x", None),
        ("thread.comm", None),
        (
            "(process.pid == 5 and ts > 1s) or (process.pid == 6 and ts < 2us)",
            Some(false),
        ),
    ];
    for (text, expect) in cases {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(filter.judge(&Member), expect, "{text}");
    }
}

#[test]
fn bounds_of_time_are_those_that_hold_everywhere() {
    let cases = [
        ("ts > 1us", (Some(1_001), None)),
        (
            "ts > 1us and dur > 1s and ts <= 5us",
            (Some(1_001), Some(5_000)),
        ),
        (
            "dur and (ts > 1us and ts < 2us)",
            (Some(1_001), Some(1_999)),
        ),
        ("ts in (1us, 3us..4us)", (Some(1_000), Some(4_000))),
        ("ts > 1us or dur > 1s", (None, None)),
        ("not ts > 1us", (None, None)),
        ("ts != 1us", (None, None)),
    ];
    for (text, expect) in cases {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(filter.bounds(), expect, "{text}");
    }
}

#[test]
fn kinds_that_cannot_have_the_facts_are_known() {
    let kinds = |text: &str| {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let mut kinds = EventKind::ALL.to_vec();
        kinds.retain(|&kind| filter.may_hold(kind));
        kinds
    };
    assert_eq!(kinds("switch.preempted"), [EventKind::Switch]);
    assert_eq!(
        kinds("event.kind in (sample, wait)"),
        [EventKind::Sample, EventKind::Wait]
    );
    assert_eq!(kinds("payload.size > 0 and ret > 0"), []);
    assert_eq!(kinds("thread.comm == x").len(), EventKind::ALL.len());
}

#[test]
fn wall_times_are_moments_of_the_capture() {
    let filter = Filter::parse("ts >= 1970-01-01T00:00:02Z").unwrap();
    let filter = filter
        .with_wall_times(&|wall_ns| wall_ns - 1_000_000_000)
        .unwrap();
    assert_eq!(filter.bounds(), (Some(1_000_000_000), None));
}

/// Numbers that are the same in every run (xorshift).
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

#[test]
fn no_text_makes_it_panic() {
    let mut pieces: Vec<&str> = FIELDS.iter().map(|spec| spec.name).collect();
    pieces.extend([
        "==",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "(",
        ")",
        ",",
        "and",
        "or",
        "not",
        "!",
        "&&",
        "||",
        "in",
        "contains",
        "glob",
        "matches",
        "exists",
        "10ms",
        "1..2",
        "-1",
        "0x",
        "..",
        "4KiB",
        "'",
        "\"",
        "\\",
        "'a b'",
        "\"[a-\"",
        "\"(x{9999}){9999}\"",
        "EAGAIN",
        "read",
        "10.0.0.0/8",
        "/",
        "::",
        "\u{1f525}",
        "ß",
        "\0",
        "\n",
        "99999999999999999999999999999999999999999999",
        "*",
        "µs",
        "9999999999999999999s",
        "2026-01-31T12:00:00Z",
        "true",
        "tcp",
    ]);
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut accepted = 0;
    for _ in 0..200_000 {
        let length = random(&mut state) % 9;
        let mut text = String::new();
        for _ in 0..length {
            text.push_str(pieces[random(&mut state) % pieces.len()]);
            if !random(&mut state).is_multiple_of(4) {
                text.push(' ');
            }
        }
        match Filter::parse(&text) {
            Ok(filter) => {
                accepted += 1;
                // Facts of many events never contradict those of one of them.
                assert_eq!(
                    filter.holds(&Read),
                    filter.judge(&Read) == Some(true),
                    "{text}"
                );
                let _ = (filter.judge(&Member), filter.bounds());
            }
            Err(error) => {
                let columns = text.chars().count() + 1;
                assert!((1..=columns).contains(&error.column), "{text:?}: {error}");
            }
        }
    }
    assert!(accepted > 1_000, "only {accepted} of the texts made sense");
}

#[test]
fn bytes_in_any_order_do_not_make_it_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d;
    for _ in 0..100_000 {
        let length = random(&mut state) % 40;
        let bytes: Vec<u8> = (0..length).map(|_| random(&mut state) as u8).collect();
        let _ = Filter::parse(&String::from_utf8_lossy(&bytes));
    }
    for deep in ["(", "not ", "!", "((!"] {
        let error = Filter::parse(&deep.repeat(100_000)).unwrap_err();
        assert!(error.to_string().contains("levels"), "{deep}");
    }
}

/// One of the events that a member speaks of; every unknown fact has one of two values.
struct OneOfMany(u64);

impl Facts for OneOfMany {
    fn fact(&self, field: Field) -> Fact<'_> {
        let coin = |bit: u32| self.0 >> bit & 1 == 1;
        match field {
            Field::Ts => Fact::Number(if coin(0) { 1_000 } else { 2_000 }),
            Field::Pid => Fact::Number(if coin(1) { 5 } else { 7 }),
            Field::Dur if coin(2) => Fact::Absent,
            Field::Dur => Fact::Number(if coin(3) { 0 } else { 10_000_000 }),
            Field::Ret => Fact::Number(if coin(4) { -1 } else { 1 }),
            Field::ThreadComm => Fact::text(Some(if coin(5) { "a" } else { "read" })),
            field => Member.fact(field),
        }
    }
}

#[test]
fn what_is_said_of_many_events_is_true_of_each() {
    let tests = [
        "ts > 1us",
        "ts == 2us",
        "process.pid == 5",
        "process.pid in (5, 6, 7)",
        "process.pid != 9",
        "dur > 1ms",
        "dur",
        "ret < 0",
        "thread.comm == a",
        "thread.comm exists",
        "payload.size > 1",
        "event.kind == syscall",
    ];
    let mut state = 0x0123_4567_89ab_cdef;
    let mut decided = 0;
    for _ in 0..20_000 {
        let mut text = String::new();
        let parts = 1 + random(&mut state) % 4;
        for part in 0..parts {
            if part > 0 {
                text.push_str([" and ", " or "][random(&mut state) % 2]);
            }
            let not = ["", "not "][random(&mut state) % 2];
            text.push_str(&format!("{not}{}", tests[random(&mut state) % tests.len()]));
        }
        let filter = Filter::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let Some(of_all) = filter.judge(&Member) else {
            continue;
        };
        decided += 1;
        for event in 0..64 {
            let of_one = filter.judge(&OneOfMany(event));
            assert!(
                of_one.is_none_or(|of_one| of_one == of_all),
                "{text}, event {event}"
            );
        }
    }
    assert!(decided > 1_000, "only {decided} conditions decide");
}
