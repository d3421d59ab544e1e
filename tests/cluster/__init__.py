"""The chart and the discovery against a real kube-apiserver and etcd: `make cluster`.

There is no kubelet and no controller: objects are admitted and kept, and nothing of them runs.
"""
