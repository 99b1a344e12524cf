// Package flannel tests vtepd as a member of Flannel networks, end to end:
// beside the real flanneld and the kernel's devices as flanneld programs them,
// on the real etcd.
package flannel
