"""The enclave: the application that runs programs, its sandbox, and a simulated security monitor.

====================  ==============================================================================
``loader``            first measured file: loads everything else from the measured bytes
``zygote``            the warmed-up process that enclaves are forked from
``enclave``           one enclave: sandbox, channel, request loop
``application``       answers requests with tinywasm
``configuration``     the limits of an enclave; their digest is in the evidence
``sandbox``           the layers of isolation
``device``            the simulated device's secret key
``monitor``           the simulated security monitor, a process of its own
``monitor_link``      what an enclave may ask of the monitor
====================  ==============================================================================

The host starts the monitor, the monitor measures the three files and starts the zygote from them. Enclaves
hold no key but their own; the monitor runs no program.
"""
