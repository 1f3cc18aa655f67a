// SPDX-License-Identifier: MIT OR Apache-2.0
//! Somebody between a client and a server: passes bytes on, or does not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What becomes of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// All is passed on.
    Pass,
    /// It breaks after the client has sent so many bytes.
    Cut(u64),
    /// The server is not asked: this is the answer.
    Say(&'static str),
    /// Nobody answers.
    Silence,
}

/// Listens, and gives each connection the next fate; all that follow are passed on.
pub(crate) struct Between {
    address: SocketAddr,
    fates: Arc<Mutex<Vec<Fate>>>,
}

impl Between {
    pub(crate) fn new(server: SocketAddr, fates: &[Fate]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = listener.local_addr().expect("an address");
        let mut fates = fates.to_vec();
        fates.reverse();
        let fates = Arc::new(Mutex::new(fates));
        let left = Arc::clone(&fates);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let fate = left.lock().expect("no panic").pop().unwrap_or(Fate::Pass);
                thread::spawn(move || meet(client, server, &fate));
            }
        });
        Self { address, fates }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Fates that nobody has met.
    pub(crate) fn left(&self) -> usize {
        self.fates.lock().expect("no panic").len()
    }
}

fn meet(mut client: TcpStream, server: SocketAddr, fate: &Fate) {
    if let Fate::Silence = fate {
        let _ = std::io::copy(&mut client, &mut std::io::sink());
        return;
    }
    if let Fate::Say(answer) = fate {
        // Whatever is asked, as long as it is small.
        let _ = client.read(&mut [0; 1 << 16]);
        let _ = client.write_all(answer.as_bytes());
        let _ = client.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut client, &mut std::io::sink());
        return;
    }
    let Ok(mut server) = TcpStream::connect(server) else {
        return;
    };
    let (Ok(mut answers), Ok(mut back)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    });
    match fate {
        Fate::Cut(after) => {
            let _ = std::io::copy(&mut (&mut client).take(*after), &mut server);
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
        _ => {
            let _ = std::io::copy(&mut client, &mut server);
            let _ = server.shutdown(Shutdown::Write);
        }
    }
}
