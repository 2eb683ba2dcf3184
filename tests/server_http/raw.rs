//! HTTP as bytes, and nothing that could mend a request on its way.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn code(&self) -> String {
        let json = self.json();
        for field in ["error", "code", "hint"] {
            assert!(json[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {json}");
        }
        json["code"].as_str().unwrap().to_owned()
    }
}

/// The head of a request, which closes the connection after it.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: Option<usize>) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = length {
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    head + "\r\n"
}

pub async fn ask(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let length = (!body.is_empty()).then_some(body.len());
    let head = head(method, path, headers, length);
    send(to, &[head.as_bytes(), body].concat()).await
}

/// Sends bytes as they are, and reads until the end.
pub async fn send(to: SocketAddr, bytes: &[u8]) -> Reply {
    let mut socket = TcpStream::connect(to).await.unwrap();
    // The server may have answered and closed before it read all.
    let _ = socket.write_all(bytes).await;
    let mut all = Vec::new();
    let _ = crate::within(5, socket.read_to_end(&mut all)).await;
    parse(&all)
}

pub fn parse(all: &[u8]) -> Reply {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(all[..end].to_vec()).unwrap().to_lowercase();
    let status = head[9..12].parse().unwrap();
    Reply { status, head, body: all[end + 4..].to_vec() }
}
