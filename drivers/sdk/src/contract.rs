//! The services of the contract with the gateway, `sagoo.driver.v1.Driver`.
//!
//! Always true: nothing here decides anything, it carries messages between the gateway's streams,
//! the author's driver and the session.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::driver::driver_server::Driver as DriverService;
use sagoo_edge_proto::driver::{
    CaptureRequest, CaptureResponse, CheckRequest, CheckResponse, DescribeRequest, DescribeResponse,
    DriverMessage, HostMessage, ScanRequest, ScanResponse,
};
use sagoo_edge_proto::handshake::ABILITY_REATTACH;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use crate::driver::Driver;
use crate::session::{INBOUND, Incoming, Look, OUTBOUND, Open};
use crate::{capture, wire};

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The contract with the gateway.
pub(crate) struct Contract<D: Driver> {
    pub(crate) driver: Arc<D>,
    pub(crate) sessions: mpsc::Sender<Incoming>,
}

#[tonic::async_trait]
impl<D: Driver> DriverService for Contract<D> {
    type SessionStream = Outgoing<DriverMessage>;
    type ScanStream = Outgoing<ScanResponse>;
    type CaptureStream = Outgoing<CaptureResponse>;

    async fn describe(
        &self,
        _request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        let mut description: DescribeResponse = self.driver.describe().into();
        // Not the author's doing: the session keeps what was read, whichever gateway comes.
        if !description.abilities.iter().any(|ability| ability == ABILITY_REATTACH) {
            description.abilities.push(ABILITY_REATTACH.to_owned());
        }
        Ok(Response::new(description))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let configuration = request.into_inner().configuration.unwrap_or_default();
        let (tables, mut problems) = wire::configuration(configuration);
        let mut checked = self.driver.check(&tables);
        problems.append(&mut checked.problems);
        let plans = wire::plans(&*self.driver, &checked);
        let rights = wire::rights(&*self.driver, &checked);
        let problems = problems.into_iter().map(Into::into).collect();
        Ok(Response::new(CheckResponse { problems, plans, rights }))
    }

    async fn session(
        &self,
        request: Request<Streaming<HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut messages = request.into_inner();
        let (outbound, stream) = mpsc::channel(OUTBOUND);
        let (forward, inbound) = mpsc::channel(INBOUND);
        let open = Open { outbound, inbound };
        self.sessions
            .send(Incoming::Session(open))
            .await
            .map_err(|_| Status::unavailable("the driver is ending"))?;
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    // The session was superseded or has ended.
                    () = forward.closed() => return,
                    message = messages.message() => message,
                };
                match message {
                    Ok(Some(message)) => {
                        if forward.send(message).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(status) => {
                        debug!(error = %status, "the session's stream broke");
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(Ok))))
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let request = request.into_inner();
        let answers = self.look(|answer| Look::Scan(request, answer)).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn capture(
        &self,
        request: Request<CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        let CaptureRequest { connection, duration_ms } = request.into_inner();
        let captured = self.look(|answer| Look::Capture(connection, answer)).await?;
        let duration = (duration_ms > 0).then(|| Duration::from_millis(duration_ms.into()));
        Ok(Response::new(Box::pin(ReceiverStream::new(capture::stream(captured, duration)))))
    }
}

impl<D: Driver> Contract<D> {
    /// Asks the session, which knows the lines.
    async fn look<T>(
        &self,
        look: impl FnOnce(oneshot::Sender<Result<T, Status>>) -> Look,
    ) -> Result<T, Status> {
        let ending = || Status::unavailable("the driver is ending");
        let (answer, answered) = oneshot::channel();
        self.sessions.send(Incoming::Look(look(answer))).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }
}

#[cfg(test)]
mod tests {
    use sagoo_edge_proto::driver::{Configuration, Connection, scan_response};
    use serde_json::json;
    use tonic::Code;

    use super::*;
    use crate::session::fake::{Fake, World};
    use crate::session::{self, Patience};
    use crate::testing::tables;

    /// A driver with its services and no session yet.
    fn contract() -> Contract<Fake> {
        let driver = Arc::new(Fake(World::new()));
        let (sessions, incoming) = mpsc::channel(4);
        let end = tokio_util::sync::CancellationToken::new();
        tokio::spawn(session::run(driver.clone(), incoming, Patience::GatewayIsAll, end));
        Contract { driver, sessions }
    }

    fn scan(settings: &str, options: &str) -> Request<ScanRequest> {
        let connection = Some(Connection { name: "hall".into(), settings: settings.into() });
        Request::new(ScanRequest { connection, deadline_ms: 0, options: options.into() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_is_served_as_a_stream_without_a_session() {
        let contract = contract();
        let options = r#"{"units": 3, "there": [1]}"#;
        let stream = contract.scan(scan(r#"{"port": 502}"#, options)).await.unwrap().into_inner();
        let answers: Vec<_> = stream.map(|answer| answer.unwrap().message.unwrap()).collect().await;
        let found: Vec<usize> = (0..answers.len())
            .filter(|place| matches!(answers[*place], scan_response::Message::Found(_)))
            .collect();
        // 0 of 3, 1 of 3, the one that was found, 2 of 3, 3 of 3.
        assert_eq!((answers.len(), found), (5, vec![2]));
        let refused = contract.scan(scan("", options)).await.err().unwrap();
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, "no connection \"hall\""));
        let refused = contract.scan(scan("{", options)).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("connection \"hall\": not JSON"), "{refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_capture_of_an_unknown_connection_is_refused_and_check_needs_no_session() {
        let contract = contract();
        let request = CaptureRequest { connection: "hall".into(), duration_ms: 10 };
        let refused = contract.capture(Request::new(request)).await.err().unwrap();
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, "no connection \"hall\""));
        let field = json!({
            "connection": { "bus": {} },
            "device": { "known": { "connection": "bus", "measured_ms": 31.5 } },
        });
        let configuration: Configuration = wire::configuration_message(&tables(field));
        let request = CheckRequest { configuration: Some(configuration) };
        let told = contract.check(Request::new(request)).await.unwrap().into_inner();
        assert_eq!(told.plans[0].requests[0].predicted_ms, 31.5);
        assert_eq!(told.plans[0].learned[0].paste, "holes = [1]");
    }
}
