"""The enclave: the application that runs programs, its sandbox, and a simulated security monitor.

====================  ==============================================================================
``loader``            first measured file: loads everything else from the measured bytes
``zygote``            the warmed-up process that enclaves are forked from
``server``            the request loop of an enclave, whatever its surroundings
``enclave``           one enclave as a process: sandbox, sockets, time limits
``keystone``          one enclave as an application on Keystone: edge calls
``application``       answers requests: the only module that knows them all
``programs``          the session's modules, run with tinywasm within limits
``values``            values and types between the channel and tinywasm
``memories``          buffers in a program's memory
``files``             the session's file tree
``sealing``           programs kept in the host's storage (``stored``), which ``storage_link`` reaches
``access``            who may do what
``configuration``     limits and rights of an enclave; their digest is in the evidence
``sandbox``           the layers of isolation
``system_calls``      the filter of system calls among them
``device``            the simulated device's secret key
``process``           what every process of ours asks of the kernel
``monitor``           the simulated security monitor, a process of its own: how it starts
``monitor_server``    the same monitor, serving
``monitor_link``      what an enclave may ask of the monitor
====================  ==============================================================================

The host starts the monitor, the monitor measures the three files and starts the zygote from them. Enclaves
hold no key but their own; the monitor runs no program.
"""
