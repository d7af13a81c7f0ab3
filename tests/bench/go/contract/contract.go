// Package contract is what the Go host and the Go plugin of the bench agree on: the cookie, the
// version and the service, which is the gateway's own (proto/driver/v1/driver.proto). Either of the
// two works with the Rust side of the same bench.
package contract

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"sagoo.edge/bench/driverpb"
)

// Name is what the host dispenses; it never crosses the wire.
const Name = "driver"

// Handshake is the gateway's.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "SAGOO_EDGE_PLUGIN",
	MagicCookieValue: "sagoo_edge_driver",
}

// Driver carries the service: Service on the plugin's side, nothing on the host's.
type Driver struct {
	plugin.NetRPCUnsupportedPlugin
	Service driverpb.DriverServer
}

// GRPCServer serves it.
func (d *Driver) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	driverpb.RegisterDriverServer(server, d.Service)
	return nil
}

// GRPCClient speaks to it.
func (d *Driver) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (interface{}, error) {
	return driverpb.NewDriverClient(conn), nil
}
