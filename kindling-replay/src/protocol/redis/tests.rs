use super::super::fuzz::{cut, cut_with};
use super::*;

#[test]
fn commands_are_framed() {
    let check = |bytes: &str, expect: &[&str]| {
        assert_eq!(cut(&Redis, Side::Request, bytes), expect, "{bytes:?}")
    };
    check("*1\r\n$4\r\nPING\r\n", &["0 PING", "end 14"]);
    check(
        "*2\r\n$3\r\nget\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n",
        &["0 GET", "end 20", "20 PING", "end 34"],
    );
    check(
        "*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$4\r\nsave\r\n",
        &["0 CONFIG GET", "end 35"],
    );
    check(
        "PING\r\nset a b\r\n\r\nconfig get x\n",
        &[
            "0 PING",
            "end 6",
            "6 SET",
            "end 15",
            "15 CONFIG GET",
            "end 30",
        ],
    );
    check("*1\r\n$7\r\nMONITOR\r\n", &["0 MONITOR pushes", "end 17"]);
    check(
        "*2\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n",
        &["0 CLIENT LIST", "end 26"],
    );
    check("*1\r\n$6\r\nCLIENT\r\n", &["0 CLIENT", "end 16"]);
    check("*0\r\n", &[]);
    check("*1\r\n:4\r\n", &["lost 0"]);
    check("*1\r\n$2\r\n\x01\x02\r\n", &["lost 0"]);
    check(
        "*9223372036854775807\r\n$9223372036854775807\r\n",
        &["lost 0"],
    );
}

#[test]
fn client_reply_says_what_is_answered() {
    let command = |words: &str| {
        let words: Vec<_> = words.split(' ').collect();
        let bulks = words
            .iter()
            .map(|word| format!("${}\r\n{word}\r\n", word.len()));
        format!("*{}\r\n{}", words.len(), bulks.collect::<String>())
    };
    let script = [
        "CLIENT REPLY SKIP",
        "GET a",
        "GET a",
        "CLIENT REPLY OFF",
        "GET a",
        "CLIENT REPLY ON",
    ];
    let bytes: String = script.iter().map(|words| command(words)).collect();
    let heads = cut(&Redis, Side::Request, &bytes)
        .into_iter()
        .filter(|line| !line.starts_with("end"));
    let heads: Vec<_> = heads
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect();
    assert_eq!(
        heads,
        [
            "CLIENT REPLY one-way",
            "GET one-way",
            "GET",
            "CLIENT REPLY one-way",
            "GET one-way",
            "CLIENT REPLY",
        ]
    );
}

#[test]
fn replies_are_framed() {
    let check = |bytes: &str, expect: &[&str]| {
        assert_eq!(cut(&Redis, Side::Response, bytes), expect, "{bytes:?}")
    };
    check("+OK\r\n:1\r\n", &["0 ok", "end 5", "5 ok", "end 9"]);
    check(
        "-ERR no such key\r\n",
        &["0 ok ! ERR no such key", "end 18"],
    );
    check(
        "$-1\r\n$3\r\nabc\r\n$0\r\n\r\n",
        &["0 ok", "end 5", "5 ok", "end 14", "14 ok", "end 20"],
    );
    check(
        "*2\r\n*2\r\n:1\r\n$1\r\na\r\n*-1\r\n+x\r\n",
        &["0 ok", "end 24", "24 ok", "end 28"],
    );
    check(
        "*0\r\n_\r\n#t\r\n,1.5\r\n",
        &[
            "0 ok", "end 4", "4 ok", "end 7", "7 ok", "end 11", "11 ok", "end 17",
        ],
    );
    check("%1\r\n+a\r\n:1\r\n", &["0 ok", "end 12"]);
    check("!5\r\nERR x\r\n", &["0 ok ! ERR x", "end 11"]);
    check("|1\r\n+ttl\r\n:9\r\n$1\r\nv\r\n", &["0 ok", "end 21"]);
    check(
        ">2\r\n+invalidate\r\n*0\r\n+OK\r\n",
        &["0 aside", "end 21", "21 ok", "end 26"],
    );
    check("$3\r\nab", &["0 ok"]);
    check("hello\r\n", &["lost 0"]);
    check(&"*1\r\n".repeat(40), &["0 ok", "broken 160"]);
}

#[test]
fn what_subscribers_get_answers_nothing() {
    let bytes = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n+1.2 [0 x] \"GET\"\r\n";
    let context = Context {
        request: None,
        pushes: true,
    };
    let expect = [
        "0 aside", "end 30", "30 aside", "end 62", "62 aside", "end 80",
    ];
    assert_eq!(cut_with(&Redis, Side::Response, bytes, &context), expect);
    let request = Request::default();
    let context = Context {
        request: Some(&request),
        pushes: true,
    };
    let expect = ["0 ok", "end 30", "30 aside", "end 62", "62 aside", "end 80"];
    assert_eq!(cut_with(&Redis, Side::Response, bytes, &context), expect);
}
