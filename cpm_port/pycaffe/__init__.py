"""pycaffe."""
from cpm_port.pycaffe.net import Net, TEST, TRAIN
