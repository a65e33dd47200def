module recording-operator/dev/link

go 1.26.8
