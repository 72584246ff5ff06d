"""Instances as they are: machines under QEMU, one thread each, brought to what their rows in the store want.

den         the files of an instance
states      what becomes of its row
bits        an AMI's bits out of the cloud, onto a disk
noise       a disk whose unwritten blocks hold noise
guest       the QEMU process
ports       which of its ports are open, and where on the loopback they are
told        what it hears of itself from the metadata service
instance    one instance's thread
orphans     machines of a server that was killed
supervisor  starts those threads
"""
