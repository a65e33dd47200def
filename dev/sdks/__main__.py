from . import print_clients

print_clients()
