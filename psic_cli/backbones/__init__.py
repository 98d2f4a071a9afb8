"""Learned codecs of other people, behind the protocol of networks/backbone.py: plain torch, so that files need nothing
else to be coded and decoded.

architectures.py lists them; convert.py makes a model folder of a checkpoint.
"""
