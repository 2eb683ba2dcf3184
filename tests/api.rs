//! The shape of the public API: what programs outside rely on.

use everlink::*;

fn everywhere<T: Send + Sync + 'static>() {}

#[test]
fn handles_go_between_threads() {
    everywhere::<Client>();
    everywhere::<DurableService>();
    everywhere::<DurableConnection>();
    everywhere::<DurableChannel>();
    everywhere::<ChannelSender>();
    everywhere::<ChannelReceiver>();
    everywhere::<Receipt>();
    everywhere::<Events<ConnectionEvent>>();
    everywhere::<Identity>();
    everywhere::<Message>();
}

#[test]
fn futures_go_between_threads() {
    fn sendable<T: Send>(_: T) {}
    // Never polled: that they compile is the test.
    #[allow(dead_code)]
    fn check(client: Client, connection: DurableConnection, mut channel: DurableChannel, receipt: Receipt) {
        sendable(client.connect("alice", "chat@1.0.0"));
        sendable(connection.accept_channel());
        sendable(connection.flush());
        sendable(connection.close());
        sendable(receipt.acked());
        sendable(channel.send("hello"));
        sendable(channel.send_with("hello", SendOptions::new()));
        sendable(channel.recv());
    }
}
