use tokio::sync::oneshot;

use super::super::connections::LARGEST_BUFFER;
use super::*;

#[tokio::test]
async fn it_waits_for_a_certificate_follows_it_and_finishes_what_was_asked() {
    let directory = tempfile::tempdir().unwrap();
    let free = free_address();
    let app = Router::new().route("/", get(async || "served")).route(
        "/slow",
        get(async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            "finished"
        }),
    );
    let readiness = Readiness::default();
    let tls = TlsDirectory::new(directory.path());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let readiness = readiness.clone();
        async move {
            let shutdown = async { drop(stopped.await) };
            let timeouts = Timeouts { reconnect: Duration::ZERO, ..TIMEOUTS };
            serve(free, &tls, app, &readiness, shutdown, (timeouts, LIMITS)).await
        }
    });

    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(std::net::TcpStream::connect(free).is_err(), "nothing to serve with yet");
    let first = write_certificate(directory.path());
    assert_eq!(until_answered(free, &first).await, "served");

    let second = write_certificate(directory.path());
    assert_eq!(until_answered(free, &second).await, "served");
    assert!(tokio::task::spawn_blocking(move || ask(free, &first, "/")).await.unwrap().is_err());

    let slow = tokio::task::spawn_blocking(move || ask(free, &second, "/slow"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.send(()).unwrap();
    assert_eq!(slow.await.unwrap().unwrap(), "finished");
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn after_sigterm_each_answer_asks_its_client_to_close_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write_certificate(directory.path());
    let free = free_address();
    let app = Router::new().route("/", get(async || "served"));
    let tls = TlsDirectory::new(directory.path());
    let (stop, stopped) = oneshot::channel::<()>();
    let timeouts = Timeouts { reconnect: Duration::from_secs(2), ..TIMEOUTS };
    let serving = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        serve(free, &tls, app, &Readiness::default(), shutdown, (timeouts, LIMITS)).await
    });
    until_answered(free, &trusted).await;

    // Two that were kept open, and one that comes while the server ends.
    let (told, telling) = oneshot::channel::<()>();
    let clients = tokio::task::spawn_blocking(move || {
        let ask = |stream: &mut StreamOwned<_, _>| {
            write!(stream, "GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").unwrap();
            let mut answer = [0; 1024];
            let length = stream.read(&mut answer).unwrap();
            String::from_utf8_lossy(&answer[..length]).into_owned()
        };
        let closes = |answer: &str| answer.to_lowercase().contains("\r\nconnection: close\r\n");
        let mut kept = [connect(free, &trusted).unwrap(), connect(free, &trusted).unwrap()];
        for stream in &mut kept {
            assert!(!closes(&ask(stream)), "while it serves");
        }
        told.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let fresh = connect(free, &trusted).unwrap();
        for mut stream in kept.into_iter().chain([fresh]) {
            let answer = ask(&mut stream);
            assert!(answer.starts_with("HTTP/1.1 200") && closes(&answer), "{answer}");
            assert_eq!(stream.read(&mut [0; 16]).unwrap_or_default(), 0, "and then it is closed");
        }
    });
    telling.await.unwrap();
    stop.send(()).unwrap();
    clients.await.unwrap();
    serving.await.unwrap().unwrap();
    assert!(std::net::TcpStream::connect(free).is_err(), "ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_or_oversized_clients_are_cut_off_and_delay_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let trusted = write_certificate(directory.path());
    let free = free_address();
    let app = Router::new()
        .route("/", get(async || "served").post(async |body: String| format!("read {}", body.len())));
    let tls = TlsDirectory::new(directory.path());
    let time = Duration::from_secs(1);
    let timeouts = Timeouts { first_request: time, idle: 2 * time, request: time, ..TIMEOUTS };
    tokio::spawn(async move {
        serve(free, &tls, app, &Readiness::default(), std::future::pending(), (timeouts, LIMITS)).await
    });
    until_answered(free, &trusted).await;

    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n";
    let headers = |number| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(number));
    let header = |bytes| format!("GET / HTTP/1.1\r\nHost: x\r\na: {}\r\n\r\n", "b".repeat(bytes));
    let too_much = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n";
    // What each sends at once, what it then sends byte by byte, and how its answer begins.
    let clients = [
        ("a body in time", format!("{post}body"), "", "HTTP/1.1 200"),
        ("a slow body", post.to_owned(), "bod", "HTTP/1.1 408"),
        ("no request", String::new(), "", ""),
        ("a slow head", String::new(), "GET / HTTP/1.1", ""),
        ("many headers", headers(90), "", "HTTP/1.1 200"),
        ("too many headers", headers(101), "", too_much),
        ("a large header", header(LARGEST_BUFFER / 2), "", "HTTP/1.1 200"),
        ("too large a header", header(2 * LARGEST_BUFFER), "", too_much),
        // 20,000 refusals of 100 bytes and more: far beyond what the sockets hold.
        (
            "answers that nobody reads",
            "GET /none HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20_000),
            "",
            "HTTP/1.1 404",
        ),
        ("no second request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "", "HTTP/1.1 200"),
    ];
    let asked = clients.map(|(what, at_once, slowly, expected)| {
        let trusted = trusted.clone();
        tokio::task::spawn_blocking(move || {
            let mut stream = connect(free, &trusted).unwrap();
            let mut answer = Vec::new();
            let mut talk = || {
                stream.write_all(at_once.as_bytes())?;
                for byte in slowly.bytes() {
                    std::thread::sleep(Duration::from_millis(400));
                    stream.write_all(&[byte])?;
                }
                // To its end: the server closes the connection.
                stream.read_to_end(&mut answer)
            };
            _ = talk();
            _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(
                answer.starts_with(expected) && answer.is_empty() == expected.is_empty(),
                "{what}: {answer}"
            );
        })
    });
    for _ in 0..5 {
        let trusted = trusted.clone();
        let other = tokio::task::spawn_blocking(move || ask(free, &trusted, "/"));
        assert_eq!(other.await.unwrap().unwrap(), "served");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for asked in asked {
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn a_key_of_another_certificate_is_no_certificate_to_serve_with() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_certificate(ours.path());
    write_certificate(other.path());
    let tls = TlsDirectory::new(ours.path());
    assert!(load(&tls).await.is_ok());
    std::fs::copy(other.path().join("tls.key"), ours.path().join("tls.key")).unwrap();
    let refused = load(&tls).await.unwrap_err().to_string();
    assert!(refused.contains("do not serve together"), "{refused}");
}
