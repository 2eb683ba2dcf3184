//! Questions and answers over memory links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::link::memory::MemoryNetwork;
use crate::signaling::MemorySignaling;
use crate::{
    BoxFuture, ChannelConfig, Client, DurableChannel, DurableConnection, DurableService, Identity,
    QueueConfig, Requester, Responder, ServiceConfig, Target,
};

struct Pair {
    _clients: (Client, Client, DurableService),
    at_host: DurableConnection,
    at_member: DurableConnection,
}

impl Pair {
    async fn new(seed: u64) -> Self {
        let (network, signaling) = (MemoryNetwork::new(seed), MemorySignaling::new());
        let client = |secret| {
            Client::builder(Identity::from_secret([secret; 32]))
                .signaling(signaling.clone())
                .transport(network.transport())
                .seed(seed)
                .build()
        };
        let (host, member) = (client(1), client(2));
        let config = ServiceConfig::new("alice".parse().unwrap(), "room@1.0.0".parse().unwrap());
        let service = host.expose_service(config).await.unwrap();
        let at_member =
            member.connect_with(Target::Uuid(service.info().uuid), Default::default()).await.unwrap();
        let at_host = service.accept().await.unwrap();
        Self { _clients: (host, member, service), at_host, at_member }
    }

    fn channels(&self) -> (DurableChannel, DurableChannel) {
        let config = || ChannelConfig::queue(QueueConfig::lossless());
        let at_host = self.at_host.open_channel_with(CONTENT_LABEL, config()).unwrap();
        (at_host, self.at_member.open_channel_with(CONTENT_LABEL, config()).unwrap())
    }

    fn served(&self, content: impl TutorialContent) -> (ContentClient, tokio::task::JoinHandle<()>) {
        let (at_host, at_member) = self.channels();
        (ContentClient::new(at_member), serving(at_host, content))
    }
}

#[allow(clippy::disallowed_methods)] // the test owns it
fn serving(channel: DurableChannel, content: impl TutorialContent) -> tokio::task::JoinHandle<()> {
    tokio::spawn(serve_content(channel, Arc::new(content)))
}

/// Two steps, and files of which some do not fit.
#[derive(Default)]
struct Sample {
    files: BTreeMap<String, Vec<u8>>,
}

impl TutorialContent for Sample {
    fn answer(&self, request: ContentRequest) -> BoxFuture<'static, Result<ContentReply, ContentError>> {
        let reply = match request {
            ContentRequest::Outline => Ok(ContentReply::Outline(Outline {
                title: "Sample".into(),
                repo_url: None,
                steps: vec![summary(0), summary(1)],
            })),
            ContentRequest::Step { index: index @ 0..2, solution } => {
                Ok(ContentReply::Step(page(index, solution)))
            }
            ContentRequest::Tree { index: 0..2 } => Ok(ContentReply::Tree(
                self.files
                    .iter()
                    .map(|(path, bytes)| TreeEntry {
                        path: path.clone(),
                        size: bytes.len() as u64,
                        executable: false,
                        hash: bytes.len().to_string(),
                    })
                    .collect(),
            )),
            ContentRequest::File { index: 0..2, path } => match self.files.get(&path) {
                Some(bytes) => Ok(ContentReply::File(FileContent::new(path, bytes.clone()))),
                None => Err(ContentError::new(ContentErrorCode::NotFound, "no such file")),
            },
            _ => Err(ContentError::new(ContentErrorCode::NotFound, "no such step")),
        };
        Box::pin(async move { reply })
    }
}

fn summary(index: u32) -> StepSummary {
    StepSummary {
        index,
        id: format!("step-{index}"),
        title: format!("Step {index}"),
        kind: StepType::Template,
        commit_hash: "c0ffee".into(),
        section: Some("Begin".into()),
    }
}

fn page(index: u32, solution: bool) -> StepPage {
    let change = FileChange {
        path: "src/a.rs".into(),
        old_path: None,
        status: FileStatus::Modified,
        binary: false,
        too_large: false,
        additions: 1,
        deletions: 0,
        diff: Some("@@ -0,0 +1 @@\n+a\n".into()),
    };
    StepPage {
        index,
        id: format!("step-{index}"),
        title: format!("Step {index}"),
        kind: if solution { StepType::Solution } else { StepType::Template },
        commit_hash: "c0ffee".into(),
        markdown: "# Ü".into(),
        files: vec![change],
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, ContentError>) -> ContentErrorCode {
    answer.unwrap_err().code
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_is_answered() {
    let pair = Pair::new(1).await;
    let files = BTreeMap::from([
        ("src/a.rs".to_owned(), b"a\n".to_vec()),
        ("b.png".to_owned(), vec![0xff, 0, 1]),
        ("empty".to_owned(), Vec::new()),
    ]);
    let (client, _) = pair.served(Sample { files: files.clone() });
    assert_eq!(client.outline().await.unwrap().steps, [summary(0), summary(1)]);
    for solution in [false, true] {
        assert_eq!(client.step(1, solution).await, Ok(page(1, solution)));
    }
    let tree = client.tree(0).await.unwrap();
    assert_eq!(tree.iter().map(|entry| &*entry.path).collect::<Vec<_>>(), ["b.png", "empty", "src/a.rs"]);
    for (path, bytes) in files {
        let file = client.file(0, &path).await.unwrap();
        assert_eq!((&file.path, file.text.is_some()), (&path, path != "b.png"));
        assert_eq!(file.into_bytes(), Some(bytes));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_an_error_and_the_next_question_is_answered() {
    let pair = Pair::new(2).await;
    let files =
        BTreeMap::from([("control".to_owned(), vec![1; 1 << 20]), ("fits".to_owned(), vec![b'x'; 1 << 20])]);
    let (client, _) = pair.served(Sample { files });
    assert_eq!(code(client.step(2, false).await), ContentErrorCode::NotFound);
    assert_eq!(code(client.tree(u32::MAX).await), ContentErrorCode::NotFound);
    assert_eq!(code(client.file(0, "none").await), ContentErrorCode::NotFound);
    // A mebibyte of control characters is six of JSON.
    assert_eq!(code(client.file(0, "control").await), ContentErrorCode::TooLarge);
    assert_eq!(client.file(0, "fits").await.unwrap().into_bytes().unwrap().len(), 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn bad_requests_are_refused_by_the_host_whoever_sends_them() {
    struct Never;
    impl TutorialContent for Never {
        fn answer(&self, request: ContentRequest) -> BoxFuture<'static, Result<ContentReply, ContentError>> {
            panic!("it was let through: {request:?}")
        }
    }
    let pair = Pair::new(3).await;
    let (at_host, at_member) = pair.channels();
    serving(at_host, Never);
    let raw = Requester::new(at_member);
    let long = format!(r#"{{"ask":"file","index":0,"path":"{}"}}"#, "x".repeat(5000));
    let huge = format!(r#"{{"ask":"outline","more":"{}"}}"#, "x".repeat(1 << 20));
    for (request, code) in [
        ("", "bad_request"),
        ("null", "bad_request"),
        ("{\"ask\":\"step\"", "bad_request"),
        (r#"{"ask":"step"}"#, "bad_request"),
        (r#"{"ask":"step","index":-1}"#, "bad_request"),
        (r#"{"ask":"step","index":4294967296}"#, "bad_request"),
        (r#"{"ask":"everything"}"#, "bad_request"),
        (r#"{"ask":"file","index":0,"path":""}"#, "bad_path"),
        (r#"{"ask":"file","index":0,"path":"/etc/passwd"}"#, "bad_path"),
        (r#"{"ask":"file","index":0,"path":"a/../../b"}"#, "bad_path"),
        (r#"{"ask":"file","index":0,"path":"..\\b"}"#, "bad_path"),
        (r#"{"ask":"file","index":0,"path":"a//b"}"#, "bad_path"),
        (r#"{"ask":"file","index":0,"path":"a\u0000b"}"#, "bad_path"),
        (&*long, "bad_path"),
        (&*huge, "too_large"),
    ] {
        let reply = raw.request(request, Duration::from_secs(5)).await.unwrap();
        let reply: serde_json::Value = serde_json::from_slice(reply.as_bytes()).unwrap();
        assert_eq!(reply["error"]["code"], code, "{request}: {reply}");
    }
    // And no question of ours gets that far.
    let (_, client) = (raw, ContentClient::new(pair.at_member.open_channel("other").unwrap()));
    assert_eq!(code(client.file(0, "../a").await), ContentErrorCode::BadPath);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_makes_no_sense_is_an_error() {
    let pair = Pair::new(4).await;
    let (at_host, at_member) = pair.channels();
    let mut replies = vec![
        "".to_owned(),
        "[]".to_owned(),
        r#"{"error":{"code":"of the next version"}}"#.to_owned(),
        r#"{"tree":[]}"#.to_owned(),
        r#"{"step":{"index":0}}"#.to_owned(),
        format!("{{\"outline\":{{\"title\":\"{}\"}}}}", "x".repeat(MAX_CONTENT_REPLY)),
    ];
    replies.reverse();
    #[allow(clippy::disallowed_methods)] // the test owns it
    tokio::spawn(Responder::new(at_host).serve(1, move |_| {
        let reply = replies.pop().unwrap();
        async move { reply }
    }));
    let client = ContentClient::new(at_member);
    for expected in [
        ContentErrorCode::Unavailable,
        ContentErrorCode::Unavailable,
        ContentErrorCode::Other,
        ContentErrorCode::Unavailable,
        ContentErrorCode::Unavailable,
        ContentErrorCode::TooLarge,
    ] {
        assert_eq!(code(client.outline().await), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_in_time_or_is_gone_keeps_nobody_waiting() {
    struct Silent;
    impl TutorialContent for Silent {
        fn answer(&self, _: ContentRequest) -> BoxFuture<'static, Result<ContentReply, ContentError>> {
            Box::pin(std::future::pending())
        }
    }
    let pair = Pair::new(5).await;
    let (client, serving) = pair.served(Silent);
    let error = client.outline().await.unwrap_err();
    assert_eq!(error.code, ContentErrorCode::Unavailable, "{error}");
    // Nothing is answered at all: no responder is there.
    let (at_host, at_member) = {
        let config = || ChannelConfig::queue(QueueConfig::lossless());
        let at_host = pair.at_host.open_channel_with("silent", config()).unwrap();
        (at_host, pair.at_member.open_channel_with("silent", config()).unwrap())
    };
    let silent = ContentClient::new(at_member);
    assert_eq!(code(silent.outline().await), ContentErrorCode::Unavailable);
    drop(at_host);
    assert_eq!(code(silent.outline().await), ContentErrorCode::Closed);
    // The host's end goes away with a question under way.
    let asking = client.outline();
    let closing = async {
        crate::runtime::sleep(Duration::from_secs(1)).await;
        serving.abort();
    };
    let (asked, ()) = tokio::join!(asking, closing);
    let asked = asked.unwrap_err();
    assert!(matches!(asked.code, ContentErrorCode::Closed | ContentErrorCode::Unavailable), "{asked:?}");
    assert_eq!(code(client.outline().await), ContentErrorCode::Closed);
}

#[test]
fn names_on_the_wire_are_fixed() {
    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }
    assert_eq!(
        json(&ContentRequest::Step { index: 3, solution: true }),
        r#"{"ask":"step","index":3,"solution":true}"#
    );
    assert_eq!(json(&ContentRequest::Outline), r#"{"ask":"outline"}"#);
    assert_eq!(
        json(&ContentReply::Step(page(1, true))),
        r##"{"step":{"index":1,"id":"step-1","title":"Step 1","type":"solution","commitHash":"c0ffee","markdown":"# Ü","files":[{"path":"src/a.rs","status":"modified","binary":false,"tooLarge":false,"additions":1,"deletions":0,"diff":"@@ -0,0 +1 @@\n+a\n"}]}}"##
    );
    assert_eq!(
        json(&ContentReply::Outline(Outline { title: "T".into(), repo_url: None, steps: vec![summary(0)] })),
        r#"{"outline":{"title":"T","steps":[{"index":0,"id":"step-0","title":"Step 0","type":"template","commitHash":"c0ffee","section":"Begin"}]}}"#
    );
    for code in [
        ContentErrorCode::NotFound,
        ContentErrorCode::TooLarge,
        ContentErrorCode::Binary,
        ContentErrorCode::BadPath,
        ContentErrorCode::BadRequest,
        ContentErrorCode::Unavailable,
        ContentErrorCode::Closed,
    ] {
        assert_eq!(json(&code), format!("{:?}", code.as_str()));
    }
}
