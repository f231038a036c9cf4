//! The siege bites: data that are really gone are noticed, and a relay does what it is told.

use crate::dice::Dice;
use crate::relay::Relay;
use crate::siege::Siege;
use crate::sky::{Party, Sky, Weather};
use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

#[test]
fn blocks_that_are_gone_from_every_node_are_noticed() {
    let siege = Siege::begin(1).unwrap();
    siege.town.nodes.iter().for_each(|node| node.kill());
    for n in 0..siege.town.nodes.len() {
        fs::remove_dir_all(siege.town.node_dir(n).join("segments")).unwrap();
    }
    let noticed = siege.town.start_all().and_then(|()| siege.pull_everything());
    assert!(noticed.is_err(), "everything was restored from nothing");
}

#[test]
fn a_relay_carries_and_a_wall_stands_on_one_side() {
    let sky = Sky::new(Dice::new(1, "relay"));
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay = Relay::start(Party::Index, server.local_addr().unwrap().port(), sky.clone());
    let person = UdpSocket::bind("127.0.0.1:0").unwrap();
    person.connect(("127.0.0.1", relay.port())).unwrap();
    for socket in [&server, &person] {
        socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    }
    let mut buffer = [0; 9];
    let mut ask_and_answer = || {
        person.send(b"asked").unwrap();
        let Ok((_, back)) = server.recv_from(&mut buffer) else { return (false, false) };
        server.send_to(b"answered", back).unwrap();
        (true, person.recv(&mut buffer).is_ok())
    };
    assert_eq!(ask_and_answer(), (true, true));
    sky.set(Party::Index, Party::Person, Weather::WALL);
    assert_eq!(ask_and_answer(), (true, false));
    sky.set(Party::Person, Party::Index, Weather::WALL);
    assert_eq!(ask_and_answer(), (false, false));
    sky.clear();
    let late = Weather { lost: 0, twice: 1000, delay_ms: 20 };
    sky.set(Party::Person, Party::Index, late);
    person.send(b"asked").unwrap();
    let times = std::iter::from_fn(|| server.recv_from(&mut buffer).ok()).take(3).count();
    assert_eq!(times, 2);
    sky.end();
}
