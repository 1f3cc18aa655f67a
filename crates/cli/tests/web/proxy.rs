// SPDX-License-Identifier: MIT OR Apache-2.0
//! A proxy: by CONNECT, by requests with whole URLs, by SOCKS. Whatever is asked for, it goes to one server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Who wants to go through has to send `Proxy-Authorization: Basic` with this, if it is not empty.
    pub(crate) fn new(server: SocketAddr, secret: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&heads);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let heard = Arc::clone(&heard);
                // Who goes away in the middle of it is no failure of the test's.
                thread::spawn(move || serve(client, server, secret, &heard));
            }
        });
        Self { address, heads }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The first line of the first request on each connection since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().expect("no panic"))
    }
}

fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    secret: &str,
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = vec![0; 1];
    client.read_exact(&mut head)?;
    if head == [5] {
        let name = socks(&mut client)?;
        heard
            .lock()
            .expect("no panic")
            .push(format!("SOCKS {name}"));
        return tunnel(client, TcpStream::connect(server)?);
    }
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let first = text.lines().next().unwrap_or_default().to_owned();
    let is_tunnel = first.starts_with("CONNECT ");
    heard.lock().expect("no panic").push(first);
    let shown = format!("proxy-authorization: basic {}", secret.to_lowercase());
    if !text.to_lowercase().contains(&shown) && !secret.is_empty() {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        client.write_all(refusal.as_bytes())?;
        return client.shutdown(Shutdown::Write);
    }
    let mut server = TcpStream::connect(server)?;
    match is_tunnel {
        true => client.write_all(b"HTTP/1.1 200 Go on\r\n\r\n")?,
        false => server.write_all(&head)?,
    }
    tunnel(client, server)
}

/// Agrees on whom to talk to.
fn socks(client: &mut TcpStream) -> std::io::Result<String> {
    let mut take = |len: usize| {
        let mut bytes = vec![0; len];
        client.read_exact(&mut bytes).map(|()| bytes)
    };
    let methods = take(1)?[0].into();
    take(methods)?;
    client.write_all(&[5, 0])?;
    let mut head = [0; 5];
    client.read_exact(&mut head)?;
    assert_eq!(head[..4], [5, 1, 0, 3], "a name is connected to");
    let mut name = vec![0; usize::from(head[4]) + 2];
    client.read_exact(&mut name)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    name.truncate(head[4].into());
    Ok(String::from_utf8_lossy(&name).into_owned())
}

fn tunnel(mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        back.shutdown(Shutdown::Write)
    });
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Write)
}
