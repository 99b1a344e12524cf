// Package host keeps the kernel's routes in step with what route sources say,
// and switches on what routed packets need: forwarding on the devices that they
// pass, loose reverse path filters on ours.
//
// It is level-triggered: whenever routes, links or addresses changed, whenever
// something else is wanted, and every few seconds, it looks at what is there and
// makes what it owns equal to what is wanted. It owns the routes of its own
// [Protocol], whoever wrote them: what a former run left behind goes, what
// somebody removed or changed by hand is put right. It never touches a route of
// anybody else. Those have the better metric: where somebody has a route for the
// same prefix, that one is used, and [Status] says so.
//
// Routes are all that packets need: the device of a routed segment resolves no
// neighbours, and those of direct routes are resolved by the kernel.
package host

// Protocol marks our routes (`proto 181` in ip-route(8)). Nothing in iproute2's
// rt_protos has this number; it is the low byte of VXLAN's port 4789.
const Protocol = 181

// Metric is that of our routes. It is larger, and so worse, than what the
// kernel (0, 256), operators (0, 1024), DHCP clients and routing daemons give
// theirs: a route of somebody else is never overridden.
const Metric = 4789
