//! The scene of most tests: two pods with sidecars, and a stranger without one.

use crate::{
    Application, Authority, Document, Fault, Leaf, Mesh, Message, Pod, Sender, Service, Sidecar, SidecarOptions,
    TcpApplication, TlsClient, Wire, http1, http2,
};
use std::net::SocketAddr;

/// Pods, services and documents before any sidecar runs; a test may change the documents.
pub struct Scene {
    /// The network.
    pub mesh: Mesh,
    /// The mesh's authority.
    pub authority: Authority,
    /// Calls; its identity is `web.shop`.
    pub client: Pod,
    /// Serves; its identity is `api.shop`.
    pub server: Pod,
    /// Has no sidecar, but an address that may connect.
    pub stranger: Pod,
    /// Documents of the client's and the server's sidecars.
    pub client_document: Document,
    /// See `client_document`.
    pub server_document: Document,
    /// HTTP, answered by the [`Application`] of the pair.
    pub http: Service,
    /// HTTP, answered by whatever the test puts at port 8081 of the server.
    pub raw: Service,
    /// gRPC, answered by the [`Application`].
    pub grpc: Service,
    /// TCP, answered by an echo.
    pub tcp: Service,
    /// TCP, answered by an echo that speaks first.
    pub banner: Service,
    /// Arguments and environment of both sidecars.
    pub options: SidecarOptions,
}

/// What the server-first service says.
pub const BANNER: &[u8] = b"220 ready\r\n";

impl Scene {
    /// Makes the pods and permissive documents. `None` when the test cannot run here.
    pub fn new() -> Option<Self> {
        let mesh = Mesh::create()?;
        let authority = Authority::new("fsm-ca.fsm.io");
        let (client, server) = (mesh.pod("client"), mesh.pod("server"));
        let stranger = mesh.pod("stranger");
        let http = Service::new("api", "shop", "http", 80, 8080, &["10.96.0.1", "fd00:96::1"]);
        let raw = Service::new("raw", "shop", "http", 81, 8081, &["10.96.0.2"]);
        let grpc = Service::new("grpc", "shop", "grpc", 50051, 50051, &["10.96.0.3"]);
        let tcp = Service::new("tcp", "shop", "tcp", 9000, 9000, &["10.96.0.4", "fd00:96::4"]);
        let banner = Service::new("banner", "shop", "tcp", 9001, 9001, &["10.96.0.5"]);
        let mut client_document = Document::new(&authority.leaf("web.shop"));
        let mut server_document = Document::new(&authority.leaf("api.shop"));
        for service in [&http, &raw, &grpc, &tcp, &banner] {
            client_document = client_document.call(service, &[server.ip()]).identities(service, &["api.shop"]);
            server_document = server_document.serve(service);
        }
        Some(Self {
            client_document: client_document.allow(&client).allow(&server).allow(&stranger),
            server_document: server_document.allow(&client).allow(&server).allow(&stranger),
            mesh,
            authority,
            client,
            server,
            stranger,
            http,
            raw,
            grpc,
            tcp,
            banner,
            options: SidecarOptions::default(),
        })
    }

    /// Starts the applications and both sidecars.
    pub async fn start(self) -> Pair {
        let at = |service: &Service| SocketAddr::from(([127, 0, 0, 1], service.target_port));
        let application = Application::start(&self.server, &[at(&self.http), at(&self.grpc)]);
        let echo = TcpApplication::echo(&self.server, at(&self.tcp));
        let banner = TcpApplication::banner(&self.server, at(&self.banner), BANNER);
        let server_document = self.server_document.json();
        let client_document = self.client_document.json();
        let (server_sidecar, client_sidecar) = tokio::join!(
            Sidecar::start_with(&self.server, server_document, &self.options),
            Sidecar::start_with(&self.client, client_document, &self.options),
        );
        Pair { application, echo, banner, server_sidecar, client_sidecar, scene: self }
    }
}

/// Two pods with running sidecars.
pub struct Pair {
    /// HTTP and gRPC in the server's pod.
    pub application: Application,
    /// TCP echo in the server's pod.
    pub echo: TcpApplication,
    /// Server-first TCP in the server's pod.
    pub banner: TcpApplication,
    /// The server's sidecar.
    pub server_sidecar: Sidecar,
    /// The client's sidecar.
    pub client_sidecar: Sidecar,
    /// Pods and services. Last: sidecars end before their pods.
    pub scene: Scene,
}

impl Pair {
    /// Permissive documents, unchanged. `None` when the test cannot run here.
    pub async fn start() -> Option<Self> {
        Some(Scene::new()?.start().await)
    }

    /// A connection from the client's pod to a service, through both sidecars.
    pub async fn dial(&self, service: &Service) -> Wire {
        Wire::connect(&self.scene.client, service.address()).await
    }

    /// An HTTP/1.1 client at a service.
    pub async fn http1(&self, service: &Service) -> Sender {
        http1(self.dial(service).await).await
    }

    /// An HTTP/2 client at a service.
    pub async fn http2(&self, service: &Service) -> Sender {
        http2(self.dial(service).await).await
    }

    /// Where the server's sidecar takes a service's connections from other sidecars.
    pub fn inbound(&self, service: &Service) -> SocketAddr {
        SocketAddr::new(self.scene.server.ip(), service.port)
    }

    /// A leaf of the mesh.
    pub fn leaf(&self, identity: &str) -> Leaf {
        self.scene.authority.leaf(identity)
    }

    /// A connection of the stranger to the server's sidecar, with a certificate, as a hand-made mesh client would
    /// open it.
    pub async fn intrude(&self, service: &Service, leaf: &Leaf) -> Wire {
        TlsClient::new(leaf)
            .connect(&self.scene.stranger, self.inbound(service))
            .await
            .unwrap_or_else(|why| panic!("the server's sidecar refuses a certificate of the mesh: {why}"))
    }

    /// Makes sure that ordinary clients are still served.
    pub async fn assert_healthy(&self) {
        let service = &self.scene.http;
        let reply = self.http1(service).await.get(&service.host(), "/healthy").await;
        assert_eq!(reply.status, 200, "an ordinary request fails: {} {}", reply.text(), reply.reason().unwrap_or(""));
    }

    /// Sends one request on a new connection of the stranger, and reads what comes.
    ///
    /// # Errors
    /// When the sidecar does not let the connection in or closes it without an answer.
    pub async fn intruding_get(&self, service: &Service, tls: &TlsClient, headers: &str) -> Result<Message, Fault> {
        let connected = tls.connect(&self.scene.stranger, self.inbound(service)).await;
        let mut wire = match connected {
            Ok(wire) => wire,
            Err(why) => {
                return Err(Fault::Ended(crate::End::Failed(why.to_string()), Vec::new()));
            }
        };
        let host = service.host();
        wire.offer(format!("GET /intruder HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n")).await;
        wire.try_response("GET").await
    }
}
