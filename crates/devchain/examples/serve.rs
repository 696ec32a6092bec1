//! A development chain by itself, for clients in other languages: prints its URL and runs until its input ends.
//!
//! `serve [DATA_DIR]`

use std::{io::Read as _, path::PathBuf};

use devchain::{Config, DevChain};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data_dir = std::env::args_os().nth(1).map(PathBuf::from);
    let chain = DevChain::open(Config { data_dir, ..Config::default() })?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "whoever started this reads the address")]
    {
        println!("http://{}", listener.local_addr()?);
    }
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let read = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended.send(read));
    });
    // Not a graceful end of the server: a client may hold its websocket open for ever.
    tokio::select! {
        served = axum::serve(listener, chain.router()) => served?,
        _ = end => {}
    }
    chain.shutdown().await?;
    Ok(())
}
