//! Following the destination as the broker tells it. The broker lets a question wait until there is news.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::uploader::queue::circuit_breaker::Word;
use crate::uploader::storage::{Broker, Told};
use crate::api::DeliveryState;

/// Least time between two questions to a broker that answers.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same where it refuses or cannot be reached, and so does not make us wait. Up to half as much again, by chance.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// Keeps `word` at what the broker said last, and logs each change once. A broker that cannot be
/// reached changes nothing: its last word stands.
pub async fn follow<B: Broker>(broker: &B, word: watch::Sender<Word>) -> Infallible {
    let mut reachable = true;
    loop {
        let asked = Instant::now();
        let told = broker.destination().await;
        let pause = match &told {
            Told::Granted(_) => INTERVAL,
            Told::Refused | Told::Unavailable(_) => ASK_AGAIN.mul_f64(1.0 + rand::random::<f64>() / 2.0),
        };
        let heard = match told {
            Told::Granted(document) if document.state == DeliveryState::Active => {
                Some(Word::Active(Rc::new(document)))
            }
            Told::Granted(document) => {
                let reason = document.reason.unwrap_or_else(|| "no reason was given".to_owned());
                Some(Word::Paused(format!("the destination is paused: {reason}")))
            }
            Told::Refused => Some(Word::Paused("the broker refuses this pod".to_owned())),
            Told::Unavailable(why) => {
                if reachable {
                    tracing::warn!(why, "The broker cannot be reached. Its last word stands");
                }
                None
            }
        };
        reachable = heard.is_some();
        if let Some(heard) = heard
            && *word.borrow() != heard
        {
            match &heard {
                Word::Active(document) => {
                    tracing::info!(
                        bucket = document.target.bucket,
                        prefix = document.target.prefix,
                        "Sending"
                    );
                }
                Word::Paused(reason) => tracing::warn!(reason, "Paused. Every recording is kept"),
                Word::Unheard => {}
            }
            word.send_replace(heard);
        }
        tokio::time::sleep_until(asked + pause).await;
    }
}
