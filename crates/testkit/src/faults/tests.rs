use super::*;

async fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Ok(address)
}

/// Says something through a proxy of that weather; what came back.
async fn said(weather: Weather, storm: bool, what: &str) -> Result<String> {
    let proxy = Proxy::start("echo", 3, Speech::Bytes, weather).await?;
    proxy.point_at(echo().await?);
    proxy.storm(storm);
    let mut stream = TcpStream::connect(proxy.address()).await?;
    let mut heard = String::new();
    if stream.write_all(what.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        // A connection that is reset says as much as one that is closed.
        let _ = stream.read_to_string(&mut heard).await;
    }
    Ok(heard)
}

const FAIR: Weather = Weather {
    refused: 0,
    bad_gateway: 0,
    cut: 0,
    cut_within: Duration::from_millis(1),
    slow: 0,
    slow_max: Duration::from_millis(1),
    rpc_errors: 0,
};

#[tokio::test]
async fn weather_is_felt_only_in_a_storm() -> Result<()> {
    let request = "GET / HTTP/1.1\r\n\r\n";
    assert_eq!(said(FAIR, true, request).await?, request);
    let refused = Weather { refused: 1_000, ..FAIR };
    assert_eq!(said(refused, false, request).await?, request);
    assert_eq!(said(refused, true, request).await?, "");
    let bad_gateway = Weather { bad_gateway: 1_000, ..FAIR };
    assert!(said(bad_gateway, true, request).await?.starts_with("HTTP/1.1 502 "));
    assert_eq!(said(bad_gateway, true, "\r\n\r\nhello").await?, "\r\n\r\nhello", "no HTTP");
    Ok(())
}

#[tokio::test]
async fn a_slow_connection_still_brings_everything_in_order() -> Result<()> {
    let words: String = (0..20_000).map(|number| format!("{number} ")).collect();
    let slow = Weather { slow: 500, ..FAIR };
    assert_eq!(said(slow, true, &words).await?, words);
    Ok(())
}
