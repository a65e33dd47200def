module recording-operator/dev/crowd

go 1.26.8
