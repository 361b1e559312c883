//! Attackers who speak TLS, or begin to.

use std::rc::Rc;

use tokio::io::AsyncWriteExt;

use super::ground::{Ground, Pace, crowd};

/// A thousand who never begin a handshake.
pub(super) async fn silent(ground: Rc<Ground>) {
    begins(ground, |_| Vec::new()).await;
}

/// A thousand who stop in the middle of their first words.
pub(super) async fn half_hellos(ground: Rc<Ground>) {
    begins(ground, |hello| hello.get(..hello.len() / 2).unwrap_or_default().to_vec()).await;
}

/// A thousand who are answered, and say nothing more: the router has done its part of the handshake for nothing.
pub(super) async fn half_handshakes(ground: Rc<Ground>) {
    begins(ground, |hello| hello).await;
}

/// A thousand whose first words are said to be as long as a record may be, and longer.
pub(super) async fn large_hellos(ground: Rc<Ground>) {
    begins(ground, |_| {
        // A record of a handshake with 16 KiB, in it a `ClientHello` of 16 MiB.
        let mut bytes = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
        bytes.resize(5 + 0x4000 - 1, 0);
        bytes
    })
    .await;
}

async fn begins(ground: Rc<Ground>, words: impl Fn(Vec<u8>) -> Vec<u8> + Clone + 'static) {
    crowd(ground, 1_000, 500, move |ground, _| {
        let words = words.clone();
        async move {
            let Ok(mut stream) = ground.connect(ground.secure).await else { return };
            let bytes = words(ground.tls.hello().unwrap_or_default());
            if stream.write_all(&bytes).await.is_ok() {
                ground.sent(bytes.len(), u64::from(!bytes.is_empty()));
                ground.hears(&mut stream).await;
            }
        }
    })
    .await;
}

/// Whole handshakes, 200 a second, after which nothing is asked.
pub(super) async fn handshakes(ground: Rc<Ground>) {
    let pace = Pace::new(200);
    loop {
        for _ in 0..pace.due().await {
            let ground = Rc::clone(&ground);
            drop(tokio::task::spawn_local(async move {
                let Ok(stream) = ground.connect(ground.secure).await else { return };
                let done = ground.tls.handshake(stream).await;
                ground.sent(0, u64::from(done.is_ok()));
                if done.is_err() {
                    ground.stopped("handshake failed");
                }
            }));
        }
    }
}

/// New keys all the time: 2,000 a second, each of which the other side has to make, too, and to answer.
pub(super) async fn new_keys(ground: Rc<Ground>) {
    crowd(ground, 10, 1_000, |ground, _| async move {
        let Ok(stream) = ground.connect(ground.secure).await else { return };
        let Ok(mut stream) = ground.tls.handshake(stream).await else { return };
        let pace = Pace::new(200);
        loop {
            for _ in 0..pace.due().await {
                if stream.get_mut().1.refresh_traffic_keys().is_err() || stream.flush().await.is_err() {
                    return ground.stopped("closed");
                }
                ground.sent(0, 1);
            }
        }
    })
    .await;
}
