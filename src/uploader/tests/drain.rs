//! The end of a pod whose destination takes nothing.

use super::fakes::Bench;

/// A sidecar that has seen its destination paused, with a recording in its spool on a volume of this kind.
async fn paused(bench: &mut Bench, volume: Option<&'static str>, pause: impl FnOnce(&Bench)) {
    bench.volume = volume;
    pause(bench);
    bench.record("a.wav", "waits");
    bench.start();
    bench.wait(30).await;
}

#[tokio::test(start_paused = true)]
async fn while_nothing_may_be_sent_a_pod_ends_at_once_where_its_volume_stays() {
    for volume in ["persistentVolumeClaim/calls", "hostPath", "nfs"] {
        Bench::run(async |mut bench| {
            paused(&mut bench, Some(volume), |bench| bench.pause("Suspended")).await;
            assert!(bench.drains().await, "{volume}");
            assert!(bench.path("a.wav").exists(), "nothing is dropped");
            let message = bench.termination_message();
            let says = format!("(the destination is paused: Suspended): they stay in the volume ({volume})");
            assert!(message.contains(&says), "{message}");
        })
        .await;
    }
    Bench::run(async |mut bench| {
        let refuse = |bench: &Bench| bench.world.borrow_mut().destination = None;
        paused(&mut bench, Some("persistentVolumeClaim/calls"), refuse).await;
        assert!(bench.drains().await, "the broker refuses the pod");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_the_spool_goes_with_the_pod_the_destination_is_waited_for() {
    for volume in [Some("emptyDir"), Some("ephemeral"), None] {
        Bench::run(async |mut bench| {
            paused(&mut bench, volume, |bench| bench.pause("Suspended")).await;
            let world = bench.world.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(std::time::Duration::from_secs(60)).await;
                world.borrow_mut().destination = Some(super::destination());
            });
            assert!(bench.drains().await, "{volume:?}");
            assert_eq!(bench.object("calls/a.wav").as_deref(), Some("waits"), "{volume:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_sent_is_sent_before_the_end_whatever_the_volume() {
    Bench::run(async |mut bench| {
        bench.volume = Some("persistentVolumeClaim/calls");
        bench.start();
        bench.wait(5).await;
        bench.record("a.wav", "goes");
        assert!(bench.drains().await);
        assert_eq!(bench.object("calls/a.wav").as_deref(), Some("goes"));
        assert_eq!(bench.termination_message(), "");
    })
    .await;
}

/// As a copy that `kubectl debug --copy-to` made without the label.
#[tokio::test(start_paused = true)]
async fn whom_the_broker_refuses_leaves_it_alone_until_the_pod_ends() {
    Bench::run(async |mut bench| {
        bench.world.borrow_mut().destination = None;
        bench.start();
        bench.wait(360).await;
        let asked = bench.world.borrow().asked;
        assert!((5..20).contains(&asked), "{asked} requests in six minutes");
        // Then it asks at once, so that an emptyDir loses nothing to a long pause.
        bench.record("a.wav", "in time");
        bench.resume();
        assert!(bench.drains().await);
        assert_eq!(bench.object("calls/a.wav").as_deref(), Some("in time"));
    })
    .await;
}
