//! The pages `/try` and `/tutorial` of `everlink serve`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::process::World;

/// The status, the head in lower case and the body of what is at a path.
fn get(url: &str, path: &str) -> (u16, String, String) {
    let mut socket = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut all = String::new();
    socket.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn try_is_served_from_the_package_and_nothing_else_is() {
    let world = World::new();
    let package = world.path("dist");
    std::fs::create_dir(&package).unwrap();
    let write = |name: &str, text: &str| std::fs::write(format!("{package}/{name}"), text).unwrap();
    write("index.js", "export {};");
    world.run(&["serve", "--web", &package], b"").expect_failure(1, &["everlink_bg.wasm", "web/build.sh"]);
    write("everlink_bg.wasm", "wasm");
    write("index.d.ts", "types");
    write("secret.txt", "secret");
    let (_server, url) = world.serve(&["--web", &package]);

    let (status, head, page) = get(&url, "/try");
    assert_eq!(status, 200);
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe-inline"), "{policy}");
    // The policy lets nothing inline be, and everything that the page names is there.
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick"));
    let named: Vec<_> = page.split('"').filter(|name| name.starts_with("try/")).collect();
    assert!(named.len() >= 4, "{named:?}");
    for name in named {
        assert_eq!(get(&url, &format!("/{name}")).0, 200, "{name}");
    }
    for (path, kind) in [
        ("/try/main.js", "text/javascript"),
        ("/try/side.js", "text/javascript"),
        ("/try/style.css", "text/css"),
        ("/try/lib/index.js", "text/javascript"),
        ("/try/lib/everlink_bg.wasm", "application/wasm"),
    ] {
        let (status, head, body) = get(&url, path);
        assert_eq!(status, 200, "{path}");
        assert!(head.contains(&format!("content-type: {kind}")), "{path}: {head}");
        // What a module imports is there, too.
        for name in body.split("from './").skip(1).filter_map(|rest| rest.split('\'').next()) {
            assert_eq!(get(&url, &format!("/try/{name}")).0, 200, "{path} imports {name}");
        }
    }
    for path in ["secret.txt", "index.d.ts", "../../x", "%2e%2e/secret.txt"] {
        assert_eq!(get(&url, &format!("/try/lib/{path}")).0, 404, "{path}");
    }
}

#[test]
fn tutorial_is_served_from_beside_the_package_by_the_strictest_policy() {
    let world = World::new();
    let package = world.path("dist");
    for directory in ["", "/page", "/tutorial"] {
        std::fs::create_dir(format!("{package}{directory}")).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(format!("{package}/{name}"), text).unwrap();
    for name in ["index.js", "everlink_bg.wasm"] {
        write(name, name);
        write(&format!("tutorial/{name}"), &format!("tutorial's {name}"));
    }
    // A package without the page: an older one, or one from npm.
    std::fs::remove_dir(format!("{package}/page")).unwrap();
    {
        let (_server, url) = world.serve(&["--web", &package]);
        assert_eq!((get(&url, "/tutorial").0, get(&url, "/try").0), (503, 200));
    }
    std::fs::create_dir(format!("{package}/page")).unwrap();
    let source = include_str!("../../web/pages/tutorial/index.html");
    write("page/index.html", source);
    write("page/secret.txt", "secret");
    for name in ["main.js", "style.css", "icon.svg", "literata.woff2"] {
        write(&format!("page/{name}"), name);
    }
    let (_server, url) = world.serve(&["--web", &package]);
    let (status, head, page) = get(&url, "/tutorial");
    assert_eq!(status, 200);
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval';",
        "connect-src 'self';",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    ] {
        assert!(policy.contains(rule), "{rule} in {policy}");
    }
    assert!(!policy.contains("unsafe-inline") && !policy.contains("http"), "{policy}");
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick"));
    let named: Vec<_> = page.split('"').filter(|name| name.starts_with("tutorial/")).collect();
    assert!(named.len() >= 4, "{named:?}");
    for name in named {
        assert_eq!(get(&url, &format!("/{name}")).0, 200, "{name}");
    }
    assert_eq!(get(&url, "/tutorial/everlink_bg.wasm").2, "tutorial's everlink_bg.wasm");
    for path in ["secret.txt", "index.html", "index.js", "../index.js", "%2e%2e/index.js"] {
        assert_eq!(get(&url, &format!("/tutorial/{path}")).0, 404, "{path}");
    }
}

#[test]
fn without_the_package_try_says_what_to_do_and_the_rest_works() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (status, _, page) = get(&url, "/try");
    assert!(status == 503 && page.contains("web/build.sh") && page.contains("--web"), "{status} {page}");
    assert_eq!(get(&url, "/tutorial").0, 503);
    assert_eq!(get(&url, "/try/style.css").0, 200);
    assert_eq!(get(&url, "/v1/health").0, 200);
    let nowhere = world.path("nowhere");
    world.run(&["serve", "--web", &nowhere], b"").expect_failure(1, &[&nowhere, "web/build.sh"]);
}
